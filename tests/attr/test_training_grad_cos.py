"""The grad-cos map: what is true of a cosine is true of its map."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from captum_tfa import GradCosScore, TrainingGradCos
from tests.attr.comparing import assert_same
from tests.attr.small_nets import LABELS, PictureAndNumbers, drawn, made, pictures, small_net


def test_training_image_itself_as_test_image_is_a_maximum() -> None:
    """``cos(x, x) = 1`` cannot grow, so the map is zero there."""
    model, train = small_net(), pictures(3, 1)
    itself = TrainingGradCos(model).attribute(train, LABELS, (train, LABELS))
    other = TrainingGradCos(model).attribute(train, LABELS, (pictures(3, 2), LABELS))
    assert float(itself.abs().max()) < 1e-12 * float(other.abs().max())


def test_loss_times_a_constant_leaves_the_map_alone() -> None:
    def thrice(outputs: Tensor, targets: Tensor) -> Tensor:
        return 3 * F.cross_entropy(outputs, targets, reduction="none")

    model, train, test_side = small_net(), pictures(3, 1), (pictures(1, 2), 1)
    maps = TrainingGradCos(model, thrice).attribute(train, LABELS, test_side)
    assert_same(maps, TrainingGradCos(model).attribute(train, LABELS, test_side))


def test_exchanged_examples_have_one_score_and_maps_of_their_own() -> None:
    model = small_net()
    first, second = pictures(1, 1), pictures(1, 2)
    score = GradCosScore(model)
    there, back = score(first, second, 0, 1).detach(), score(second, first, 1, 0).detach()
    assert abs(float(there - back)) < 1e-14


def test_map_equals_finite_differences_on_a_smooth_net() -> None:
    model = made(PictureAndNumbers())
    picture, numbers = drawn(1, 1, 1, 4, 4), drawn(1, 2, 3)
    test = drawn(1, 3, 1, 4, 4), drawn(1, 4, 3)
    score, step = GradCosScore(model), 1e-5

    def along(position: int, size: float) -> Tensor:
        moved = numbers.clone()
        moved[0, position] += size
        return score((picture, moved), test, 1, 2).detach()

    maps = TrainingGradCos(model).attribute((picture, numbers), 2, (test, 1))
    slopes = torch.cat([(along(i, step) - along(i, -step)) / (2 * step) for i in range(3)])
    torch.testing.assert_close(maps[1][0], slopes, rtol=1e-7, atol=1e-10)


def test_default_loss_is_cross_entropy() -> None:
    model, train, test_side = small_net(), pictures(3, 1), (pictures(1, 2), 1)
    named = TrainingGradCos(model, nn.CrossEntropyLoss(reduction="none"))
    maps = named.attribute(train, LABELS, test_side)
    assert_same(maps, TrainingGradCos(model).attribute(train, LABELS, test_side))
