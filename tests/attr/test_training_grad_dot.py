"""The grad-dot map: what is true of an inner product is true of its map."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from captum_tfa import GradDotScore, TrainingGradDot
from tests.attr.comparing import assert_same
from tests.attr.small_nets import LABELS, PictureAndNumbers, drawn, made, pictures, small_net


def test_loss_times_a_constant_scales_the_map_by_its_square() -> None:
    def thrice(outputs: Tensor, targets: Tensor) -> Tensor:
        return 3 * F.cross_entropy(outputs, targets, reduction="none")

    model, train, test_side = small_net(), pictures(3, 1), (pictures(1, 2), 1)
    maps = TrainingGradDot(model, thrice).attribute(train, LABELS, test_side)
    assert_same(maps, 9 * TrainingGradDot(model).attribute(train, LABELS, test_side))


def test_training_image_itself_as_test_image_has_half_the_slope_of_the_squared_norm() -> None:
    """``∂⟨g(x), g(x)⟩/∂x = 2 M``, because in ``M`` the test side stands still."""
    model, train = small_net(), pictures(1, 1).requires_grad_()
    loss = F.cross_entropy(model(train), torch.tensor([1]))
    gradients = torch.autograd.grad(loss, list(model.parameters()), create_graph=True)
    squares = torch.stack([(gradient**2).sum() for gradient in gradients]).sum()
    (slope,) = torch.autograd.grad(squares, train)
    maps = TrainingGradDot(model).attribute(train, 1, (train, 1))
    assert_same(maps, slope / 2)


def test_maps_add_up_over_the_parameters() -> None:
    model, train, test_side = small_net(), pictures(3, 1), (pictures(1, 2), 1)
    parts = [
        TrainingGradDot(model, parameters=choice).attribute(train, LABELS, test_side)
        for choice in (["conv1", "norm"], [model.conv2], lambda name: name.startswith("fc"))
    ]
    assert_same(
        torch.stack(parts).sum(0), TrainingGradDot(model).attribute(train, LABELS, test_side)
    )


def test_map_equals_finite_differences_on_a_smooth_net() -> None:
    model = made(PictureAndNumbers())
    picture, numbers = drawn(1, 1, 1, 4, 4), drawn(1, 2, 3)
    test = drawn(1, 3, 1, 4, 4), drawn(1, 4, 3)
    score, step = GradDotScore(model), 1e-5

    def along(position: int, size: float) -> Tensor:
        moved = numbers.clone()
        moved[0, position] += size
        return score((picture, moved), test, 1, 2).detach()

    maps = TrainingGradDot(model).attribute((picture, numbers), 2, (test, 1))
    slopes = torch.cat([(along(i, step) - along(i, -step)) / (2 * step) for i in range(3)])
    torch.testing.assert_close(maps[1][0], slopes, rtol=1e-7, atol=1e-10)
