"""An example that is fitted perfectly: score 0, map 0, one warning, no NaN."""

from __future__ import annotations

import warnings

import pytest
import torch
from torch import Tensor, nn

from captum_tfa import GradCosScore, ZeroGradientWarning
from captum_tfa.scores import Score
from tests.oracle import EXACT, SlowScore, cos, dot, relative_error, scores_and_maps
from tests.scores.both_scores import both_scores, small_images, small_model


def _fitted() -> tuple[nn.Module, Tensor]:
    """A model and three images, the first fitted so well as class 0 that its loss is exactly 0."""
    model, images = small_model(), small_images(3)
    with torch.no_grad():
        features = model[:-1](images)
        others = torch.linalg.qr(features[1:].T)[0]
        away = features[0] - others @ (others.T @ features[0])  # the other images have none of it
        model[-1].weight.normal_(0, 0.1)
        model[-1].weight[0] += 1e4 * away / (away @ away)
    return model, images


@both_scores
def test_a_perfectly_fitted_image_scores_zero_with_one_warning(kind: type[Score]) -> None:
    model, train = _fitted()
    test, labels = small_images(1, seed=2), torch.tensor([0, 1, 2])
    score = kind(model)
    with pytest.warns(
        ZeroGradientWarning, match="A training example has a parameter gradient of z"
    ):
        scores, (maps,) = scores_and_maps(score, train, test, torch.tensor([1]), labels)
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # once is enough
        scores_and_maps(score, train, test, torch.tensor([1]), labels)
        score.against(train, labels, score.test_gradients(test, 1))
        score.of_itself(train, labels)
    assert float(scores[0]) == 0
    assert not bool(maps[0].any())
    slow = SlowScore(model, formula=cos if kind is GradCosScore else dot)
    expected, (right,) = scores_and_maps(slow, train[1:], test, torch.tensor([1]), labels[1:])
    assert relative_error(scores[1:], expected) < EXACT
    assert relative_error(maps[1:], right) < EXACT


@both_scores
def test_a_perfectly_fitted_test_image_scores_zero_with_one_warning(kind: type[Score]) -> None:
    model, images = _fitted()
    score = kind(model)
    test_label, labels = torch.tensor([0]), torch.tensor([1, 2])
    with pytest.warns(ZeroGradientWarning, match="A test example has a parameter gra") as caught:
        scores, (maps,) = scores_and_maps(score, images[1:], images[:1], test_label, labels)
    assert len(caught) == 1
    assert not bool(scores.any())
    assert not bool(maps.any())
    with pytest.warns(ZeroGradientWarning):
        ranked = kind(model).against(images, 1, score.test_gradients(images[:1], 0))
    assert not bool(ranked.any())


def test_zero_residual_of_a_regression_gives_a_zero_cosine_and_map() -> None:
    # The gradient's direction has no limit here, so the map is 0 by definition.
    model = nn.Sequential(nn.Linear(4, 3), nn.Tanh(), nn.Linear(3, 2)).double().eval()
    train, test = torch.randn(2, 4).double(), torch.randn(1, 4).double()
    targets = model(train).detach()
    targets[1] += 1
    score = GradCosScore(model, nn.MSELoss(reduction="none"))
    with pytest.warns(ZeroGradientWarning):
        scores, (maps,) = scores_and_maps(score, train, test, torch.zeros(1, 2), targets)
    assert float(scores[0]) == 0
    assert not bool(maps[0].any())
    assert bool(maps[1].any())
    assert bool(maps.isfinite().all())


def test_tiny_gradients_are_no_zeros() -> None:
    # Losses of 1e-40: squares of the norms are far below, their cosines are as good as any.
    model, train, test = small_model(), small_images(2), small_images(1, seed=2)

    def tiny(outputs: Tensor, targets: Tensor) -> Tensor:
        return 1e-40 * nn.functional.cross_entropy(outputs, targets, reduction="none")

    labels = torch.tensor([0, 1])
    scores, (maps,) = scores_and_maps(GradCosScore(model, tiny), train, test, labels[:1], labels)
    expected, (right,) = scores_and_maps(SlowScore(model), train, test, labels[:1], labels)
    assert relative_error(scores, expected) < EXACT
    assert relative_error(maps, right) < EXACT
