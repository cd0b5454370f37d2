"""Representer scores add up to the logit of the refitted last layer, exactly."""

from __future__ import annotations

import copy
import warnings
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

from captum_tfa import (
    LayerTrainingGradient,
    RepresenterScore,
    ScoreInfluence,
    TrainingGradient,
)
from captum_tfa.report import explain
from tests.attr.comparing import assert_same, left_as_found
from tests.attr.small_nets import pictures, small_net
from tests.oracle import relative_error
from tests.report.tiny import TinyPictures, puzzling_picture, tiny_model

IMAGES, LABELS = pictures(20, 5), torch.arange(20) % 3
TRAIN = TensorDataset(IMAGES, LABELS)
TESTS = pictures(4, 2)
PENALTY = 0.05


def features(model: Any, images: Tensor) -> Tensor:
    """What the last layer sees, with the 1 that a bias is the weight of."""
    found = copy.deepcopy(model)
    found.fc = nn.Identity()
    ones = torch.ones(len(images), 1, dtype=torch.float64)
    return torch.cat([found(images), ones], 1)


def slow_refit(model: Any) -> Tensor:
    """``Θ [C, D + 1]`` by Newton's method with the dense Hessian."""
    seen = features(model, IMAGES).detach()
    flat = torch.zeros(3 * seen.shape[1], dtype=torch.float64)

    def objective(theta: Tensor) -> Tensor:
        logits = seen @ theta.view(3, -1).T
        return nn.functional.cross_entropy(logits, LABELS) + PENALTY * theta.square().sum()

    for _ in range(30):
        gradient = torch.autograd.functional.jacobian(objective, flat)
        flat = flat - torch.linalg.solve(
            torch.autograd.functional.hessian(objective, flat), gradient
        )
    return flat.view(3, -1)


@pytest.mark.parametrize("data", [TRAIN, DataLoader(TRAIN, 7)])
def test_scores_add_up_to_the_refitted_logits(data: Any) -> None:
    model = small_net()
    with left_as_found(model):
        score = RepresenterScore(model, data, "fc" if data is TRAIN else model.fc, PENALTY)
        influence = ScoreInfluence(score, data)
        tables = [influence.influence((TESTS, torch.full((4,), label))) for label in range(3)]
    assert 0 < score.residual < 1e-6
    logits = features(model, TESTS) @ slow_refit(model).T
    assert relative_error(torch.stack([table.sum(1) for table in tables], 1), logits) < 1e-7


def test_each_score_is_the_representer_value_times_the_features() -> None:
    model, theta = small_net(), slow_refit(small_net())
    score = RepresenterScore(model, TRAIN, "fc", PENALTY)
    given = score(IMAGES[:5], TESTS[:1], 2, LABELS[:5]).detach()
    seen, test = features(model, IMAGES[:5]), features(model, TESTS[:1])
    chances = (seen @ theta.T).softmax(1)
    alpha = (nn.functional.one_hot(LABELS[:5], 3) - chances) / (2 * PENALTY * len(IMAGES))
    assert relative_error(given, (alpha[:, 2] * (seen @ test[0])).detach()) < 1e-7
    itself = score.of_itself(IMAGES[:5], LABELS[:5])
    own = alpha[torch.arange(5), LABELS[:5]] * (seen * seen).sum(1)
    assert relative_error(itself, own.detach()) < 1e-7


def test_maps_are_its_derivative() -> None:
    model, theta = small_net(), slow_refit(small_net())
    score = RepresenterScore(model, TRAIN, "fc", PENALTY)
    images = IMAGES[:3].clone().requires_grad_()
    seen = features(model, images)
    left = nn.functional.one_hot(LABELS[:3], 3) - (seen @ theta.T).softmax(1)
    values = left[:, 1] * (seen @ features(model, TESTS[:1])[0].detach())
    (right,) = torch.autograd.grad(values.sum() / (2 * PENALTY * len(IMAGES)), images)
    side = (TESTS[:1], torch.tensor([1]))
    with left_as_found(model):
        map = TrainingGradient(score).attribute(IMAGES[:3], LABELS[:3], side)
        layer = LayerTrainingGradient(score, model.conv2).attribute(IMAGES[:3], LABELS[:3], side)
    assert isinstance(map, Tensor)
    assert isinstance(layer, Tensor)
    assert relative_error(map, right) < 1e-6
    assert layer.shape == (3, 5, 2, 2)


def test_several_tests_groups_and_weights_come_with_it() -> None:
    model = small_net()
    score = RepresenterScore(model, TRAIN, "fc", PENALTY)
    maps = TrainingGradient(score).attribute(IMAGES[:1], LABELS[:1], (TESTS, LABELS[:4]))
    assert isinstance(maps, Tensor)
    for row in range(4):
        alone = TrainingGradient(score).attribute(
            IMAGES[:1], LABELS[:1], (TESTS[[row]], LABELS[[row]])
        )
        assert_same(maps[[row]], alone)
    found = score.by_parameter(IMAGES[:5], TESTS, LABELS[:4], LABELS[:5])
    assert found.groups == ("fc.weight", "fc.bias")
    assert_same(found.contributions.sum(-1), found.influence_scores)


def test_explain_takes_it() -> None:
    model = tiny_model()
    score = RepresenterScore(model, TinyPictures(), "5", 0.1)
    found = explain(model, TinyPictures(), puzzling_picture(), 1, score=score, k=1, nt_samples=2)
    assert found.settings["score"] == "representer"
    assert found.proponents[0].test_map.abs().sum() > 0


def test_a_fit_that_was_cut_short_is_told_with_its_residual() -> None:
    with pytest.warns(UserWarning, match="has not converged: its residual is"):
        score = RepresenterScore(small_net(), TRAIN, "fc", 1e-4, iterations=1)
    assert score.residual > 1e-3
    single = copy.deepcopy(small_net()).float()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = RepresenterScore(single, TensorDataset(IMAGES.float(), LABELS), "fc", PENALTY)
    assert 0 < found.residual < 1e-3


def test_the_models_hooks_and_its_own_last_layer_are_left_alone() -> None:
    model = small_net()
    seen: list[object] = []
    model.fc.register_forward_hook(lambda *_: seen.append(1))
    with left_as_found(model):
        RepresenterScore(model, TRAIN, "fc", PENALTY)
        assert not seen
        with pytest.raises(ValueError, match="classes 0 to 2"):
            RepresenterScore(model, TensorDataset(IMAGES, LABELS + 2), "fc", PENALTY)


@pytest.mark.parametrize(
    ("layer", "changes", "error", "message"),
    [
        ("conv1", {}, TypeError, "layer is a Conv2d"),
        ("head", {}, ValueError, "layer is 'head', which is no module of the model"),
        ("fc", {"regularisation": 0.0}, ValueError, "regularisation is 0.0"),
        ("fc", {"iterations": 0}, ValueError, "iterations is 0"),
        ("fc", {"output_fn": lambda out: 2 * out}, ValueError, "is not the model's last layer"),
    ],
)
def test_bad_arguments_are_refused(
    layer: str, changes: Any, error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        RepresenterScore(small_net(), TRAIN, layer, **changes)
