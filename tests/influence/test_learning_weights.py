"""Learned weights minimise the loss as it is written, and cost seconds."""

from __future__ import annotations

import math
import time
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils.data import TensorDataset

from captum_tfa import (
    GradCosScore,
    GradDotScore,
    InfluenceScore,
    ParameterWeights,
    ScoreInfluence,
    TracInScore,
    learn_weights,
)
from captum_tfa.curvature import fit_curvature
from captum_tfa.influence import learning_weights
from tests.attr.comparing import assert_same, left_as_found
from tests.attr.small_nets import drawn, pictures, small_net
from tests.scores.test_tracin import RATES, states

MODEL = small_net()
IMAGES, LABELS = pictures(12, 5), torch.arange(12) % 3
QUERIES, ASKED = pictures(5, 6), torch.arange(5) % 3
TRAIN = TensorDataset(IMAGES, LABELS)


def slow_loss(parts: Tensor, weights: list[float], k: int, regularisation: float) -> float:
    """The formula with plain loops."""
    total = 0.0
    for query in parts.tolist():
        scores = [sum(w * c for w, c in zip(weights, row, strict=True)) for row in query]
        signal = sum(sorted(scores, reverse=True)[:k]) / k
        total -= signal / math.sqrt(sum(score**2 for score in scores))
    return total / len(parts) + regularisation * sum(w**2 for w in weights)


@pytest.mark.parametrize("k", [1, 3, 10])
def test_loss_is_the_formula(k: int) -> None:
    parts = drawn(4, k, 11, 3)
    weights = torch.tensor([0.2, 0.5, 0.3]).double()
    given = learning_weights.weights_loss(parts, weights, k, 0.7)
    assert given.item() == pytest.approx(slow_loss(parts, weights.tolist(), k, 0.7))


@pytest.mark.parametrize("regularisation", [0.0, 0.05])
@pytest.mark.parametrize("seed", range(3))
def test_the_minimum_is_that_of_a_fine_grid(seed: int, regularisation: float) -> None:
    parts = drawn(6, seed, 30, 3)
    parts[..., 0] += 6 * (torch.arange(30) < 3)  # one group knows three examples
    steps = 60
    best = min(
        slow_loss(parts, [a / steps, b / steps, 1 - (a + b) / steps], 3, regularisation)
        for a in range(steps + 1)
        for b in range(steps + 1 - a)
    )
    weights, first, last = learning_weights.best_weights(parts, 3, regularisation, 600, 0.1)
    assert first == pytest.approx(slow_loss(parts, [1 / 3] * 3, 3, regularisation))
    assert last == pytest.approx(slow_loss(parts, weights.tolist(), 3, regularisation))
    assert last < best + 1e-3
    assert weights.argmax() == 0
    assert weights.sum() == pytest.approx(1)
    assert (weights > 0).all()


@pytest.mark.parametrize("seed", range(3))
def test_where_several_minima_are_it_ends_in_one_of_them(seed: int) -> None:
    parts = drawn(6, seed, 30, 3)
    weights, _, last = learning_weights.best_weights(parts, 3, 0.05, 2000, 0.02)
    found = weights.tolist()
    for away in range(3):
        for to in range(3):
            moved = list(found)
            step = min(0.01, moved[away])
            moved[away], moved[to] = moved[away] - step, moved[to] + step
            assert slow_loss(parts, moved, 3, 0.05) > last - 1e-4


def scores() -> list[Any]:
    return [
        GradDotScore(MODEL),
        GradCosScore(MODEL),
        TracInScore(MODEL, states(MODEL), RATES),
        InfluenceScore(MODEL, fit_curvature(MODEL, TRAIN), "cos"),
        InfluenceScore(MODEL, fit_curvature(MODEL, TRAIN), None),
    ]


@pytest.mark.parametrize("number", range(5))
def test_rankings_under_the_weights_are_those_that_were_learned(number: int) -> None:
    score = scores()[number]
    influence = ScoreInfluence(score, TRAIN)
    with left_as_found(MODEL):
        weights = learn_weights(influence, (QUERIES, ASKED), k=2, steps=40)
    parts = influence.influence((QUERIES, ASKED), by_group="layer").parts
    given = list(weights.weights)
    assert weights.learned["loss"] == pytest.approx(slow_loss(parts, given, 2, 0.01))
    assert weights.learned["loss"] < weights.learned["loss_at_equal_weights"]
    assert list(weights.groups) == ["conv1", "norm", "conv2", "fc"]
    better = ScoreInfluence(score.weighted(weights), TRAIN).influence((QUERIES, ASKED))
    learned = parts @ torch.tensor(given, dtype=torch.float64)
    assert torch.equal(better.argsort(1), learned.argsort(1))
    if score.name != "TracIn" and not score.name.endswith(("cos", "(cos)")):
        assert_same(better, learned)
    with pytest.raises(ValueError, match="5 of 5 queries"):
        weights.refuse_queries(QUERIES)


def test_weights_follow_the_order_of_groups_of_ones_own_and_the_loss_of_queries_alone() -> None:
    own = {"late": ["conv2", "fc"], "early": ["conv1", "norm"]}
    influence = ScoreInfluence(GradCosScore(MODEL), TRAIN)
    weights = learn_weights(influence, QUERIES, k=2, steps=5, by_group=own)
    assert list(weights.by_group) == ["late", "early"]
    again = learn_weights(influence, QUERIES, k=2, steps=5, by_group=own)
    assert weights.weights == again.weights
    even = learn_weights(influence, QUERIES, k=2, steps=200, regularisation=1e4)
    assert max(even.weights) - min(even.weights) < 1e-3


def test_it_takes_under_a_minute_once_the_contributions_are_there() -> None:
    parts = torch.randn(50, 5000, 20, generator=torch.Generator().manual_seed(0))
    started = time.perf_counter()
    learning_weights.best_weights(parts, 10, 0.01, 30, 0.05)
    assert 10 * (time.perf_counter() - started) < 60  # of 300 steps


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"k": 0}, "k is 0"),
        ({"k": True}, "k is True"),
        ({"k": 12}, "k is 12 for 12 training examples"),
        ({"regularisation": -1}, "regularisation is -1"),
        ({"regularisation": math.inf}, "regularisation is inf"),
        ({"steps": 0}, "steps is 0"),
        ({"learning_rate": 0}, "learning_rate is 0"),
        ({"by_group": ["fc"]}, "leaves out"),
    ],
)
def test_bad_arguments_are_refused(arguments: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        learn_weights(ScoreInfluence(GradCosScore(MODEL), TRAIN), QUERIES, **arguments)


def test_what_is_no_ranking_and_a_query_without_influence_are_refused() -> None:
    with pytest.raises(TypeError, match="influence is a GradCosScore"):
        learn_weights(GradCosScore(MODEL), QUERIES)  # type: ignore[arg-type]
    parts = drawn(2, 0, 4, 3)
    parts[1] = 0
    with pytest.raises(ValueError, match="Query 1 has a score of 0"):
        learning_weights.of_one_size(parts)


def test_they_are_parameter_weights() -> None:
    influence = ScoreInfluence(GradDotScore(MODEL), TRAIN)
    assert isinstance(learn_weights(influence, QUERIES, k=1, steps=1), ParameterWeights)
