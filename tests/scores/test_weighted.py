"""A weighted score is the weighted sum of what the groups contribute, over its own norms."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils.data import TensorDataset

from captum_tfa import (
    GradCosScore,
    GradDotScore,
    InfluenceScore,
    LayerTrainingGradient,
    ParameterWeights,
    ScoreInfluence,
    TracInScore,
    TrainingGradient,
    TrainingIntegratedGradients,
)
from captum_tfa.curvature import fit_curvature
from captum_tfa.scores import Score, norm_held, other_side
from captum_tfa.scores.groups import groups_of
from tests.attr.comparing import assert_same, left_as_found
from tests.attr.small_nets import LABELS, pictures, small_net
from tests.oracle import SlowScore
from tests.scores.test_by_group import ASKED, TESTS, TRAIN, right
from tests.scores.test_tracin import RATES, states

MODEL = small_net()
SEEN = TensorDataset(pictures(9, 4), LABELS.repeat(3))
WEIGHTS = (0.5, 0.0, 0.2, 0.3)


def weights(by_group: Any = "layer") -> ParameterWeights:
    groups = groups_of(MODEL, None, by_group)
    return ParameterWeights(groups, (WEIGHTS * 2)[: len(groups)])


def norms(images: Tensor, labels: Tensor, of: ParameterWeights | None = None) -> Tensor:
    slow = SlowScore(MODEL)
    names = [name for name, _ in MODEL.named_parameters()]
    found = []
    for image, label in zip(images, labels, strict=True):
        parts = zip(names, slow.gradient((image[None],), label[None]), strict=True)
        squares = [
            (part * (1 if of is None else of.by_parameter[name])).square().sum()
            for name, part in parts
        ]
        found.append(sum(squares) ** 0.5)
    return torch.stack(found).detach()


@pytest.mark.parametrize("by_group", ["layer", "parameter"])
@pytest.mark.parametrize("kind", [None, "ekfac", "ggn"])
def test_it_is_the_weighted_sum_of_contributions(kind: Any, by_group: str) -> None:
    curvature = None if kind is None else fit_curvature(MODEL, SEEN, kind=kind)
    score = GradDotScore(MODEL) if kind is None else InfluenceScore(MODEL, curvature, None)
    given = weights(by_group)
    weighted = score.weighted(given)
    expected = right(MODEL, curvature, by_group) @ torch.tensor(given.weights, dtype=torch.float64)
    with left_as_found(MODEL):
        found = ScoreInfluence(weighted, TensorDataset(TRAIN, LABELS)).influence((TESTS, ASKED))
        assert_same(found, expected)
        one = weighted(TRAIN, TESTS[:1], ASKED[:1], LABELS).detach()
    assert_same(one, expected[0])
    assert weighted.name == f"weighted {score.name}"
    again = weighted.by_parameter(TRAIN, TESTS, ASKED, LABELS, by_group)
    assert_same(again.contributions.sum(-1), expected)
    assert_same(
        again.contributions,
        right(MODEL, curvature, by_group) * torch.tensor(given.weights, dtype=torch.float64),
    )


def test_a_cosine_has_the_norm_of_the_weighted_gradient() -> None:
    found = ScoreInfluence(GradCosScore(MODEL).weighted(weights()), TensorDataset(TRAIN, LABELS))
    inner = right(MODEL, None, "layer") @ torch.tensor(WEIGHTS, dtype=torch.float64)
    sizes = norms(TESTS, ASKED, weights())[:, None] * norms(TRAIN, LABELS)
    assert_same(found.influence((TESTS, ASKED)), inner / sizes)
    expected = [
        right_of_one(row) / norms(TRAIN, LABELS)[row] / norms(TRAIN, LABELS, weights())[row]
        for row in range(3)
    ]
    assert_same(found.self_influence(), torch.stack(expected))


def right_of_one(row: int) -> Tensor:
    """``⟨g, Diag(w) g⟩`` of one training image."""
    slow, by_name = SlowScore(MODEL), weights().by_parameter
    names = [name for name, _ in MODEL.named_parameters()]
    parts = slow.gradient((TRAIN[[row]],), LABELS[[row]])
    found: Tensor = sum(
        by_name[name] * part.square().sum() for name, part in zip(names, parts, strict=True)
    )  # type: ignore[assignment]
    return found.detach()


def test_equal_weights_leave_a_cosine_as_it_is() -> None:
    groups = groups_of(MODEL, None, "layer")
    for score in (GradCosScore(MODEL), InfluenceScore(MODEL, fit_curvature(MODEL, SEEN), "cos")):
        equal = score.weighted(ParameterWeights(groups, (0.25,) * 4))
        assert_same(
            equal(TRAIN, TESTS[:1], 1, LABELS).detach(), score(TRAIN, TESTS[:1], 1, LABELS).detach()
        )


def scores() -> list[Score]:
    ggn = fit_curvature(MODEL, SEEN, kind="ggn")
    return [
        GradDotScore(MODEL),
        InfluenceScore(MODEL, fit_curvature(MODEL, SEEN), None),
        InfluenceScore(MODEL, ggn, None),
        TracInScore(MODEL, states(MODEL), RATES),
    ]


@pytest.mark.parametrize("number", range(4))
def test_maps_from_either_side_are_the_weighted_sums_of_parts(number: int) -> None:
    score = scores()[number]
    train, test = (TRAIN[:1], LABELS[:1]), (TESTS[:1], ASKED[:1])

    def map(one: Score) -> Any:
        return TrainingGradient(one).attribute(TRAIN, LABELS, test)

    def of_layer(one: Score) -> Any:
        return LayerTrainingGradient(one, MODEL.conv2).attribute(*train, test)

    def turned(one: Score) -> Any:
        return TrainingGradient(other_side(one, train, test)).attribute(*test, train)

    def path(one: Score) -> Any:
        held = norm_held(one, train, test)
        return TrainingIntegratedGradients(held).attribute(train[0], 0.0, train[1], test, n_steps=3)

    given = weights()
    with left_as_found(MODEL):
        for compute in (map, of_layer, turned, path):
            expected = sum(
                weight * compute(score.part_of([group])) for group, weight in given.by_group.items()
            )
            assert_same(compute(score.weighted(given)), expected)


def test_weights_are_known_wherever_they_act() -> None:
    given = weights()
    for score in (GradCosScore(MODEL), TracInScore(MODEL, states(MODEL), RATES)):
        weighted = score.weighted(given)
        assert weighted.weights == (given,)
        assert weighted.part_of(["fc"]).weights == (given,)
        assert norm_held(weighted, (TRAIN[:1], 0), (TESTS[:1], 1)).weights == (given,)
        assert weighted.weighted(given).weights == (given, given)
        assert score.weights == ()


def test_weights_of_something_else_are_refused() -> None:
    score = GradDotScore(MODEL, parameters=["conv1", "fc"])
    with pytest.raises(ValueError, match=r"they have unknown norm\.weight, norm\.bias, conv2\.w"):
        score.weighted(weights())
    few = ParameterWeights({"fc": ("fc.weight",), "old": ("head.weight",)}, (0.5, 0.5))
    with pytest.raises(ValueError, match=r"they lack conv1\.weight.* and have unknown head\.wei"):
        score.weighted(few)
    with pytest.raises(TypeError, match="weights is a dict"):
        score.weighted({"fc": 1.0})  # type: ignore[arg-type]
