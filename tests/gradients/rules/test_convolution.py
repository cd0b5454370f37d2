from __future__ import annotations

import math
from unittest.mock import patch

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from captum_tfa.gradients import gram
from captum_tfa.gradients.rules import convolution
from tests.oracle import assert_layer_exact

CONVOLUTIONS = {1: nn.Conv1d, 2: nn.Conv2d, 3: nn.Conv3d}


@st.composite
def convolutions(draw: st.DrawFn) -> tuple[nn.Module, list[int]]:
    """A convolution with any settings, and the shape of an image that suits it."""
    spatial = draw(st.sampled_from([1, 2, 2, 3]))

    def each(lowest: int, highest: int) -> tuple[int, ...]:
        return tuple(draw(st.integers(lowest, highest)) for _ in range(spatial))

    kernel, dilation, stride = each(1, 3), each(1, 2), each(1, 3)
    padding: str | tuple[int, ...] = draw(
        st.sampled_from(["same", "valid", each(0, 2), each(0, 2), each(0, 2)])
    )
    groups = draw(st.integers(1, 3))
    channels = groups * draw(st.integers(1, 2))
    layer = CONVOLUTIONS[spatial](
        channels,
        groups * draw(st.integers(1, 2)),
        kernel,
        stride=1 if padding == "same" else stride,
        padding=padding,
        dilation=dilation,
        groups=groups,
        bias=draw(st.booleans()),
        padding_mode=draw(st.sampled_from(["zeros", "zeros", "reflect", "replicate", "circular"])),
    )
    # At least the kernel's reach, and at least 3, which every padding mode can mirror.
    least = [max(3, wide * (size - 1) + 1) for size, wide in zip(kernel, dilation, strict=True)]
    size = [lowest + draw(st.integers(0, 2)) for lowest in least]
    return layer, [channels, *size]


@given(
    drawn=convolutions(),
    batch=st.integers(1, 3),
    margin=st.sampled_from([0, math.inf]),
    small_windows=st.sampled_from([0, math.inf]),
)
@settings(deadline=None, max_examples=120)
def test_any_convolution_is_exact(
    drawn: tuple[nn.Module, list[int]], batch: int, margin: float, small_windows: float
) -> None:
    layer, shape = drawn
    with (
        patch.object(gram, "_MARGIN", margin),  # never Gram matrices, or always
        patch.object(convolution, "_SMALL_WINDOWS", small_windows),
    ):
        assert_layer_exact(layer, shape, batch)


def test_pixels_that_no_window_reaches_have_no_influence() -> None:
    assert_layer_exact(nn.Conv2d(2, 3, 2, stride=3), [2, 6, 7], batch=2)


class OneByOne(nn.Module):
    """A convolution of single images without a batch dimension."""

    def __init__(self, layer: nn.Module) -> None:
        super().__init__()
        self.layer = layer

    def forward(self, input: Tensor) -> Tensor:
        return torch.stack([self.layer(image) for image in input])


@pytest.mark.parametrize(
    "layer", [nn.Conv1d(2, 3, 2), nn.ConvTranspose1d(2, 3, 2)], ids=["plain", "transposed"]
)
@pytest.mark.parametrize("batch", [1, 3])
def test_convolutions_of_single_images_are_exact(layer: nn.Module, batch: int) -> None:
    assert_layer_exact(OneByOne(layer), [2, 5], batch)
