"""TRAK of a pair is what the ranking says, and differentiable in the training image."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from captum_tfa import (
    EnsembleScore,
    GradDotScore,
    GradientIndex,
    ParameterWeights,
    ScoreInfluence,
    TrainingGradient,
    TrakInfluence,
    TrakScore,
)
from captum_tfa.index.second_moment import second_moment
from captum_tfa.scores import other_side
from tests.influence.projected_slowly import (
    DATA,
    DIMENSION,
    IMAGES,
    LABELS,
    built,
    by_layer,
    matrix,
    minus_margin,
)
from tests.influence.tiny_sets import TEST_LABELS, TESTS, linear_and_conv
from tests.oracle import SlowScore, relative_error

DAMPING = 0.1


def made(folder: Path) -> tuple[nn.Module, GradientIndex, TrakScore]:
    model = linear_and_conv()
    index = built(GradDotScore(model, loss_fn="margin"), folder)
    return model, index, TrakScore(model, index, DAMPING)


class Slow(nn.Module):
    """The formula with the projection's matrix and plain autograd."""

    def __init__(self, model: nn.Module, index: GradientIndex) -> None:
        super().__init__()
        moment = second_moment(index)
        added = DAMPING * moment.trace() / DIMENSION
        damped = moment + added * torch.eye(DIMENSION).double()
        between = matrix(model) @ damped.inverse() @ matrix(model).T
        self.inner = SlowScore(model, minus_margin, lambda one, other: one @ between @ other)
        self.model = model

    def forward(self, train: Tensor, test: Tensor, asked: Tensor, labels: Tensor) -> Tensor:
        probability = self.model(train).softmax(1).gather(1, labels[:, None])[:, 0]
        return self.inner(train, test, asked, labels) * (1 - probability)


def test_scores_and_maps_equal_the_formula(tmp_path: Path) -> None:
    model, index, score = made(tmp_path)
    slow = Slow(model, index)
    train = IMAGES[:4].clone().requires_grad_()
    expected = slow(train, TESTS[:1], TEST_LABELS[:1], LABELS[:4])
    (slow_map,) = torch.autograd.grad(expected.sum(), train)
    given = score(IMAGES[:4], TESTS[:1], TEST_LABELS[:1], LABELS[:4])
    assert relative_error(given, expected) < 1e-8
    asked = (TESTS[:1], TEST_LABELS[:1])
    found = TrainingGradient(score).attribute(IMAGES[:4], LABELS[:4], asked)
    assert relative_error(found, slow_map) < 1e-8


def test_the_map_on_the_test_image_equals_the_formula(tmp_path: Path) -> None:
    model, index, score = made(tmp_path)
    one, test = (IMAGES[:1], LABELS[:1]), (TESTS[:1], TEST_LABELS[:1])
    found = TrainingGradient(other_side(score, one, test)).attribute(*test, one)
    slow = Slow(model, index)
    asked = TESTS[:1].clone().requires_grad_()
    # Its gradient stands where a training image's does, and 1 − p of the training image is held.
    probability = model(one[0]).softmax(1)[0, LABELS[0]].detach()
    value = slow.inner(asked, one[0], TEST_LABELS[:1], LABELS[:1]) * (1 - probability)
    (expected,) = torch.autograd.grad(value.sum(), asked)
    assert relative_error(found, expected) < 1e-8


def test_it_ranks_as_trak_does_also_with_weights(tmp_path: Path) -> None:
    model, index, score = made(tmp_path)
    names = {layer: (f"{layer}.weight", f"{layer}.bias") for layer in by_layer(model)}
    weights = ParameterWeights(names, (0.5, 0.0, 0.2, 0.3))
    margin = GradDotScore(model, loss_fn="margin")
    for own, other in ((score, margin), (score.weighted(weights), margin.weighted(weights))):
        expected = TrakInfluence(other, index, DAMPING).influence((TESTS, TEST_LABELS))
        found = ScoreInfluence(own, DATA).influence((TESTS, TEST_LABELS))
        assert relative_error(found, expected.double()) < 1e-5


def test_its_layers_add_up(tmp_path: Path) -> None:
    _, _, score = made(tmp_path)
    found = ScoreInfluence(score, DATA).influence((TESTS, TEST_LABELS), 3, by_group="layer")
    assert relative_error(found.parts.sum(-1), found.influence_scores) < 1e-8


def test_what_does_not_fit_is_refused(tmp_path: Path) -> None:
    model, index, score = made(tmp_path / "margin")
    plain = built(GradDotScore(model), tmp_path / "plain")
    with pytest.raises(ValueError, match="built with loss"):
        TrakScore(model, plain)
    with pytest.raises(TypeError, match="index is a str"):
        TrakScore(model, str(tmp_path))  # type: ignore[arg-type]
    names = tuple(name for name, _ in model.named_parameters())
    for given in (score, score.weighted(ParameterWeights({"all": names}, (1.0,)))):
        with pytest.raises(TypeError, match="TRAK ranks from an index by itself"):
            ScoreInfluence(given, index)
    with pytest.raises(TypeError, match="TRAK ranks from an index by itself"):
        ScoreInfluence(EnsembleScore([score]), index)
