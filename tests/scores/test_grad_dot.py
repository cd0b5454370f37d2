from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from captum_tfa import GradDotScore
from tests.oracle import NETS, relative_error, scores_and_maps

case = NETS["small cnn"]


@pytest.mark.parametrize("factor", [-2.0, 1e-6, 1e6])
def test_loss_times_a_constant_scales_the_score_by_its_square(factor: float) -> None:
    def scaled(outputs: Tensor, targets: Tensor) -> Tensor:
        return factor * nn.functional.cross_entropy(outputs, targets, reduction="none")

    model, (train,), (test,) = case.model(), case.inputs(3), case.inputs(3, seed=2)
    labels = torch.tensor([0, 1, 2])
    expected, (maps,) = scores_and_maps(GradDotScore(model), train, test, labels.flip(0), labels)
    given, (given_maps,) = scores_and_maps(
        GradDotScore(model, scaled), train, test, labels.flip(0), labels
    )
    assert relative_error(given, factor**2 * expected) < 1e-11
    assert relative_error(given_maps, factor**2 * maps) < 1e-11


def test_is_linear_in_the_training_loss() -> None:
    # With soft labels cross-entropy is linear in the label, and so is its gradient.
    def soft(outputs: Tensor, targets: Tensor) -> Tensor:
        return -(targets * outputs.log_softmax(1)).sum(1)

    model, (train,), (test,) = case.model(), case.inputs(3), case.inputs(1, seed=2)
    first, second = torch.rand(2, 3, 5, dtype=torch.float64)
    tested = torch.rand(1, 5, dtype=torch.float64)
    score = GradDotScore(model, soft)
    whole = score(train, test, tested, 2 * first - 3 * second)
    parts = 2 * score(train, test, tested, first) - 3 * score(train, test, tested, second)
    assert relative_error(whole, parts.detach()) < 1e-11


def test_a_small_step_on_the_training_example_lowers_the_test_loss_by_the_score() -> None:
    model, (train,), (test,) = case.model(), case.inputs(1), case.inputs(1, seed=2)
    loss = nn.CrossEntropyLoss()
    score = GradDotScore(model)(train, test, 1, 0).item()

    def loss_after(rate: float) -> float:
        stepped = case.model()
        optimizer = torch.optim.SGD(stepped.parameters(), lr=abs(rate), maximize=rate < 0)
        loss(stepped(train), torch.tensor([0])).backward()
        optimizer.step()
        return loss(stepped(test), torch.tensor([1])).item()

    rate = 1e-5
    # Central differences: the curvature's part cancels.
    drop = (loss_after(-rate) - loss_after(rate)) / (2 * rate)
    assert drop == pytest.approx(score, rel=1e-6)


def test_self_influence_is_the_squared_norm_of_the_gradient() -> None:
    model, (images,) = case.model(), case.inputs(3)
    labels = torch.tensor([0, 1, 2])
    expected = []
    for row in range(3):
        losses = nn.functional.cross_entropy(model(images[[row]]), labels[[row]])
        gradients = torch.autograd.grad(losses, list(model.parameters()))
        expected.append(sum((gradient**2).sum() for gradient in gradients))
    given = GradDotScore(model).of_itself(images, labels)
    assert relative_error(given, torch.stack(expected)) < 1e-12
