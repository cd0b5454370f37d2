from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from tests.oracle import assert_layer_exact

CONVOLUTIONS = {1: nn.ConvTranspose1d, 2: nn.ConvTranspose2d, 3: nn.ConvTranspose3d}


@st.composite
def transposed_convolutions(draw: st.DrawFn) -> tuple[nn.Module, list[int]]:
    """A transposed convolution with any settings, and the shape of an image that suits it."""
    spatial = draw(st.sampled_from([1, 2, 2, 3]))

    def each(lowest: int, highest: int) -> tuple[int, ...]:
        return tuple(draw(st.integers(lowest, highest)) for _ in range(spatial))

    kernel, stride, dilation = each(1, 3), each(1, 3), each(1, 2)
    # torch allows less output padding than the larger of stride and dilation.
    output_padding = tuple(
        draw(st.integers(0, max(step, wide) - 1))
        for step, wide in zip(stride, dilation, strict=True)
    )
    groups = draw(st.integers(1, 3))
    channels = groups * draw(st.integers(1, 2))
    layer = CONVOLUTIONS[spatial](
        channels,
        groups * draw(st.integers(1, 2)),
        kernel,
        stride=stride,
        padding=each(0, 1),
        output_padding=output_padding,
        groups=groups,
        bias=draw(st.booleans()),
        dilation=dilation,
    )
    return layer, [channels, *each(3, 4)]


@given(transposed_convolutions(), st.integers(1, 3))
@settings(deadline=None, max_examples=50)
def test_any_transposed_convolution_is_exact(
    drawn: tuple[nn.Module, list[int]], batch: int
) -> None:
    layer, shape = drawn
    assert_layer_exact(layer, shape, batch)
