"""The small networks are what their names say."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from common.small_architectures import PATCH, small_network

NAMES = ("resnet_8", "resnet_26", "vit_4", "vit_8", "convnext", "swin")


@pytest.mark.parametrize("name", NAMES)
def test_every_network_gives_logits(name: str) -> None:
    model = small_network(name, 3)
    assert not model.training
    assert model(torch.zeros(2, 3, 32, 32)).shape == (2, 3)


@pytest.mark.parametrize("layers", [8, 26])
def test_the_number_of_a_residual_network_counts_its_layers(layers: int) -> None:
    modules = [*small_network(f"resnet_{layers}", 3).modules()]
    weighted = [m for m in modules if isinstance(m, nn.Linear)]
    # Shortcuts of 1 x 1 are not counted.
    weighted += [m for m in modules if isinstance(m, nn.Conv2d) and m.kernel_size == (3, 3)]
    assert len(weighted) == layers


@pytest.mark.parametrize("name", PATCH)
def test_the_first_convolution_cuts_the_picture_into_patches(name: str) -> None:
    first = next(m for m in small_network(name, 3).modules() if isinstance(m, nn.Conv2d))
    assert first.kernel_size == first.stride == (PATCH[name], PATCH[name])
