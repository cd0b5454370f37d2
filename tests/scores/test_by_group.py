"""Contributions of groups are the pieces of the inner product, written out with dense matrices."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils.data import TensorDataset

from captum_tfa import (
    EnsembleScore,
    GradCosScore,
    GradDotScore,
    InfluenceScore,
    ScoreInfluence,
    TracInScore,
)
from captum_tfa.curvature import Curvature, fit_curvature
from captum_tfa.scores import InfluenceByGroup, Score
from captum_tfa.scores.groups import groups_of
from tests.attr.comparing import assert_same, left_as_found
from tests.attr.small_nets import LABELS, SmallNet, made, pictures, small_net
from tests.oracle import SlowScore
from tests.scores.test_own_score import Projection
from tests.scores.test_tracin import RATES, at, states

TRAIN, TESTS, ASKED = pictures(3, 1), pictures(2, 2), torch.tensor([1, 0])
OWN = {"early": ["conv1", "norm"], "weights": ["conv2.weight", "fc.weight"],
       "biases": ["conv2.bias", "fc.bias"]}  # fmt: skip
GROUPINGS: tuple[Any, ...] = ("parameter", "layer", ["norm", "conv1", "conv2", "fc"], OWN)


def gradients(model: nn.Module, images: Tensor, labels: Tensor) -> Tensor:
    """One flat gradient a row."""
    slow = SlowScore(model)
    found = [
        torch.cat([part.flatten() for part in slow.gradient((image[None],), label[None])])
        for image, label in zip(images, labels, strict=True)
    ]
    return torch.stack(found).detach()


def dense(curvature: Curvature | None, count: int, shapes: Mapping[str, torch.Size]) -> Tensor:
    """``K [P, P]``, column by column."""
    unit = torch.eye(count, dtype=torch.float64)
    if curvature is None:
        return unit
    sizes = [shape.numel() for shape in shapes.values()]
    vectors = {
        name: part.reshape(count, *shape)
        for (name, shape), part in zip(shapes.items(), unit.split(sizes, 1), strict=True)
    }
    return torch.cat([part.flatten(1) for part in curvature.solve(vectors).values()], 1).T


def right(model: nn.Module, curvature: Curvature | None, by_group: Any) -> Tensor:
    """``⟨g_n, K P_j g_q⟩ [Q, N, G]``."""
    shapes = {name: parameter.shape for name, parameter in model.named_parameters()}
    train, tests = gradients(model, TRAIN, LABELS), gradients(model, TESTS, ASKED)
    matrix = dense(curvature, train.shape[1], shapes)
    places = torch.arange(train.shape[1]).split([shape.numel() for shape in shapes.values()])
    where = dict(zip(shapes, places, strict=True))
    columns = []
    for names in groups_of(model, None, by_group).values():
        kept = torch.zeros_like(tests)
        for name in names:
            kept[:, where[name]] = tests[:, where[name]]
        columns.append(kept @ matrix.T @ train.T)
    return torch.stack(columns, -1)


def given(score: Score, by_group: Any) -> InfluenceByGroup:
    return score.by_parameter(TRAIN, TESTS, ASKED, LABELS, by_group)


def assert_adds_up(score: Score, found: InfluenceByGroup) -> None:
    values = torch.stack(
        [score(TRAIN, TESTS[[row]], ASKED[[row]], LABELS) for row in range(2)]
    ).detach()
    assert_same(found.influence_scores, values)
    assert_same(found.parts.sum(-1), values)
    assert found.indices.tolist() == [[0, 1, 2]] * 2


@pytest.mark.parametrize("by_group", GROUPINGS)
@pytest.mark.parametrize("kind", [None, "diagonal", "ekfac", "ggn"])
def test_contributions_are_the_pieces_of_the_inner_product(kind: Any, by_group: Any) -> None:
    model = small_net()
    seen = TensorDataset(pictures(9, 4), LABELS.repeat(3))
    curvature = None if kind is None else fit_curvature(model, seen, kind=kind)
    expected = right(model, curvature, by_group)
    scores: list[Score]
    if curvature is None:
        scores = [GradDotScore(model), GradCosScore(model), Projection(model)]
    else:
        scores = [
            InfluenceScore(model, curvature, normalise) for normalise in (None, "cos", "theta")
        ]
    with left_as_found(model):
        for score in scores:
            found = given(score, by_group)
            assert found.groups == tuple(groups_of(model, None, by_group))
            assert_same(found.contributions, expected)
            assert_adds_up(score, found)


def test_what_is_asked_is_the_models_own_prediction_without_labels() -> None:
    model = small_net()
    with torch.no_grad():
        asked, own = model(TESTS).argmax(1), model(TRAIN).argmax(1)
    for score in (GradCosScore(model), TracInScore(model, states(model), RATES)):
        found = score.by_parameter(TRAIN, TESTS)
        expected = score.by_parameter(TRAIN, TESTS, asked, own)
        assert_same(found.contributions, expected.contributions)


def test_of_sums_of_scores_they_are_the_sums() -> None:
    model = small_net()
    score = TracInScore(model, states(model), RATES)
    pieces = [right(at(model, state), None, "layer") for state in states(model)]
    expected = sum(rate * piece for rate, piece in zip(RATES, pieces, strict=True))
    with left_as_found(model):
        found = given(score, "layer")
    assert_same(found.contributions, expected)
    assert_adds_up(score, found)
    models = [made(SmallNet(), seed) for seed in range(2)]
    mean = EnsembleScore([GradCosScore(each) for each in models])
    found = given(mean, OWN)
    assert_same(found.contributions, sum(right(each, None, OWN) for each in models) / 2)
    assert_adds_up(mean, found)


def test_models_of_other_parameters_have_no_groups_in_common() -> None:
    other = nn.Sequential(nn.Flatten(), nn.Linear(72, 3)).double().eval()
    mean = EnsembleScore([GradCosScore(small_net()), GradCosScore(other)])
    with pytest.raises(ValueError, match="no groups in common"):
        given(mean, "layer")


@pytest.mark.parametrize("batch_size", [2, 64])
def test_a_ranking_tells_them_too_and_streams(batch_size: int) -> None:
    model = small_net()
    images, labels = pictures(7, 8), torch.arange(7) % 3
    for score in (GradCosScore(model), TracInScore(model, states(model), RATES)):
        influence = ScoreInfluence(score, TensorDataset(images, labels), batch_size=batch_size)
        found = influence.influence((TESTS, ASKED), by_group="layer")
        assert isinstance(found, InfluenceByGroup)
        expected = score.by_parameter(images, TESTS, ASKED, labels, "layer")
        for one, other in zip(found[:4], expected[:4], strict=True):
            assert_same(one.double(), other.double())
        assert found.groups == expected.groups
        for proponents in (True, False):
            best = influence.influence((TESTS, ASKED), 3, proponents, by_group="layer")
            plain = influence.influence((TESTS, ASKED), 3, proponents)
            assert torch.equal(best.indices, plain.indices)
            assert_same(best.influence_scores, plain.influence_scores)
            rows = torch.arange(2).unsqueeze(1)
            assert_same(best.contributions, found.contributions[rows, best.indices])
            assert_same(best.parts, found.parts[rows, best.indices])


def test_a_gradient_of_zero_contributes_nothing() -> None:
    model = nn.Sequential(nn.Flatten(), nn.Linear(72, 3)).double().eval()
    with torch.no_grad():
        model[1].weight.zero_()
        model[1].bias.copy_(torch.tensor([1e4, 0, 0]))  # fits class 0 perfectly
    score = GradCosScore(model)
    with pytest.warns(UserWarning, match="gradient of zero"):
        found = score.by_parameter(TRAIN, TESTS, ASKED, torch.tensor([0, 1, 2]))
    assert not found.parts[:, 0].any()
    assert not found.influence_scores[:, 0].any()
