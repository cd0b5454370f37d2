"""What is measured of the test example, and of the training example, by name or by a function."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.data import TensorDataset

from captum_tfa import GradCosScore, GradDotScore, ScoreInfluence, TrainingGradient
from tests.oracle import EXACT, SlowScore, relative_error

LABELS = torch.tensor([0, 2, 1])


def _logit(outputs: Tensor, target: Tensor) -> Tensor:
    return -outputs.gather(1, target[:, None])[:, 0]


def _margin(outputs: Tensor, target: Tensor) -> Tensor:
    """One class after the other, the slow way."""
    values = []
    for row, label in zip(outputs, target.tolist(), strict=True):
        others = torch.stack([value for place, value in enumerate(row) if place != label])
        values.append(others.logsumexp(0) - row[label])
    return torch.stack(values)


def _smoothed(outputs: Tensor, target: Tensor) -> Tensor:
    return F.cross_entropy(outputs, target, label_smoothing=0.2, reduction="none")


MEASURES: dict[str, tuple[Any, Any]] = {
    "logit": ("logit", _logit),
    "margin": ("margin", _margin),
    "function": (_smoothed, _smoothed),
    "none": (None, None),
}


def _net() -> nn.Module:
    return nn.Sequential(nn.Linear(5, 4), nn.Tanh(), nn.Linear(4, 3)).double().eval()


def _flat(slow: SlowScore, image: Tensor, label: Tensor) -> Tensor:
    return torch.cat([part.flatten() for part in slow.gradient((image,), label)])


@pytest.mark.parametrize("of_train", MEASURES)
@pytest.mark.parametrize("of_test", MEASURES)
def test_each_side_is_measured_by_its_own_function(of_train: str, of_test: str) -> None:
    model = _net()
    loss, slow_loss = MEASURES[of_train]
    measure, slow_measure = MEASURES[of_test]
    # Without a measure the test side has the training side's loss.
    train_side = SlowScore(model, loss_fn=slow_loss)
    test_side = SlowScore(model, loss_fn=slow_measure) if measure else train_side
    train, test = torch.randn(3, 5).double(), torch.randn(1, 5).double()
    u = _flat(test_side, test, torch.tensor([1])).detach()
    leaf = train.clone().requires_grad_()
    expected = torch.stack([_flat(train_side, leaf[[row]], LABELS[[row]]) @ u for row in range(3)])
    (right,) = torch.autograd.grad(expected.sum(), leaf)
    score = GradDotScore(model, loss, measure_fn=measure)
    assert relative_error(score(train, test, 1, LABELS), expected) < EXACT
    maps = TrainingGradient(score).attribute(train, LABELS, (test, 1))
    assert relative_error(maps, right) < EXACT
    pairs = list(zip(train, LABELS.tolist(), strict=True))
    ranking = ScoreInfluence(score, pairs, batch_size=2).influence((test, 1))
    assert relative_error(ranking[0], expected.detach()) < EXACT
    assert score.symmetric is (measure is None)


@pytest.mark.parametrize("name", ["logit", "margin"])
def test_a_missing_label_is_the_models_own_prediction(name: str) -> None:
    model = _net()
    train, test = torch.randn(3, 5).double(), torch.randn(1, 5).double()
    score = GradCosScore(model, name, measure_fn=name)
    said = model(test).argmax(1)
    assert relative_error(score(train, test, None, LABELS), score(train, test, said, LABELS)) == 0


def test_labels_are_checked_as_for_cross_entropy() -> None:
    score = GradCosScore(_net(), measure_fn="logit")
    image = torch.randn(1, 5).double()
    with pytest.raises(ValueError, match="Label 7 was given; the model has classes 0 to 2"):
        score(image, image, 7, 0)


@pytest.mark.parametrize("argument", ["loss_fn", "measure_fn"])
def test_unknown_names_are_refused(argument: str) -> None:
    message = f"{argument} is a str; it must be callable or None, or one of the names 'logit', 'ma"
    with pytest.raises(TypeError, match=message):
        GradCosScore(_net(), **{argument: "logits"})  # type: ignore[arg-type]


def test_an_example_is_measured_otherwise_for_itself_too() -> None:
    model, images = _net(), torch.randn(11, 5, dtype=torch.float64)
    labels = torch.arange(11) % 3
    for score in (GradCosScore(model, measure_fn="logit"), GradDotScore(model, measure_fn="logit")):
        itself = ScoreInfluence(score, TensorDataset(images, labels)).self_influence()
        right = score(images, images, labels, labels).detach()
        assert relative_error(itself, right) < EXACT
