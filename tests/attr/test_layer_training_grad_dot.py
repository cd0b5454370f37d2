"""The grad-dot layer map: what is true of an inner product is true of its layer maps."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from captum_tfa import LayerTrainingGradDot
from tests.attr.comparing import assert_same
from tests.attr.small_nets import LABELS, pictures, small_net


def test_loss_times_a_constant_scales_the_map_by_its_square() -> None:
    def thrice(outputs: Tensor, targets: Tensor) -> Tensor:
        return 3 * F.cross_entropy(outputs, targets, reduction="none")

    model, train, test_side = small_net(), pictures(3, 1), (pictures(1, 2), 1)
    maps = LayerTrainingGradDot(model, model.conv2, thrice).attribute(train, LABELS, test_side)
    plain = LayerTrainingGradDot(model, model.conv2).attribute(train, LABELS, test_side)
    assert isinstance(plain, Tensor)
    assert_same(maps, 9 * plain)


def test_maps_add_up_over_the_parameters() -> None:
    model, train, test_side = small_net(), pictures(3, 1), (pictures(1, 2), 1)

    def of(*names: str) -> Tensor:
        tfa = LayerTrainingGradDot(model, model.conv2, parameters=names or None)
        maps = tfa.attribute(train, LABELS, test_side)
        assert isinstance(maps, Tensor)
        return maps

    parts = torch.stack([of("conv1", "norm"), of("conv2"), of("fc")])
    assert_same(parts.sum(0), of())
