"""The grad-cos layer map: what is true of a cosine is true of its layer maps."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from captum_tfa import LayerTrainingGradCos
from tests.attr.comparing import assert_same
from tests.attr.small_nets import LABELS, pictures, small_net


def test_loss_times_a_constant_leaves_the_map_alone() -> None:
    def thrice(outputs: Tensor, targets: Tensor) -> Tensor:
        return 3 * F.cross_entropy(outputs, targets, reduction="none")

    model, train, test_side = small_net(), pictures(3, 1), (pictures(1, 2), 1)
    maps = LayerTrainingGradCos(model, model.conv2, thrice).attribute(train, LABELS, test_side)
    plain = LayerTrainingGradCos(model, model.conv2).attribute(train, LABELS, test_side)
    assert_same(maps, plain)


def test_training_image_itself_as_test_image_is_a_maximum() -> None:
    """``cos = 1`` cannot grow, wherever the activation goes."""
    model, train = small_net(), pictures(3, 1)
    layer = LayerTrainingGradCos(model, model.conv2)
    itself = layer.attribute(train, LABELS, (train, LABELS))
    other = layer.attribute(train, LABELS, (pictures(3, 2), LABELS))
    assert isinstance(itself, Tensor)
    assert isinstance(other, Tensor)
    assert float(itself.abs().max()) < 1e-12 * float(other.abs().max())


def test_permuting_the_batch_permutes_the_maps() -> None:
    model, order = small_net(), torch.tensor([2, 0, 1])
    train, test, labels = pictures(3, 1), pictures(3, 2), torch.tensor([1, 0, 1])
    layer = LayerTrainingGradCos(model, model.conv2)
    maps = layer.attribute(train, LABELS, (test, labels))
    permuted = layer.attribute(train[order], LABELS[order], (test[order], labels[order]))
    assert isinstance(maps, Tensor)
    assert_same(permuted, maps[order])
