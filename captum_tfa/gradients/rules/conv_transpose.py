"""Transposed convolutions: a convolution whose input and output have changed places.

So ``g_W`` is a convolution's weight gradient with the delta as its activation and the activation
as its delta.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch.nn.functional as F
from torch import Tensor

from captum_tfa.gradients.rules.convolution import ConvolutionWeight, Sizes, sizes
from captum_tfa.gradients.rules.sums import ChannelSum
from captum_tfa.gradients.uses import ParameterUses, Rule, records


class TransposedConvolutionWeight(Rule):
    """Weight ``[C, O / groups, *kernel]`` of a transposed convolution."""

    leading = 1

    def __init__(self, mirrored: ConvolutionWeight) -> None:
        self.mirrored = mirrored

    def gradient(self, inputs: tuple[Tensor, ...], delta: Tensor) -> Tensor:
        return self.mirrored.gradient((delta,), inputs[0])


def _recorded(convolution: Callable[..., Tensor], spatial: int) -> Callable[..., Tensor]:
    def recorded(
        uses: ParameterUses,
        input: Tensor,
        weight: Tensor,
        bias: Tensor | None = None,
        stride: Sizes = 1,
        padding: Sizes = 0,
        output_padding: Sizes = 0,
        groups: int = 1,
        dilation: Sizes = 1,
    ) -> Tensor:
        settings = (stride, padding, output_padding, groups, dilation)
        if input.ndim != spatial + 2:  # a single example without a batch dimension
            return convolution(input, weight, bias, *settings)
        output = convolution(input, uses.constant(weight), uses.constant(bias), *settings)
        rule = TransposedConvolutionWeight(
            ConvolutionWeight(
                weight.shape,
                sizes(stride, spatial),
                [(amount, amount) for amount in sizes(padding, spatial)],
                sizes(dilation, spatial),
                groups,
            )
        )
        return uses.record(output, (weight, rule, (input,)), (bias, ChannelSum(scale=False), ()))

    return recorded


_CONVOLUTIONS: dict[Any, int] = {
    F.conv_transpose1d: 1,
    F.conv_transpose2d: 2,
    F.conv_transpose3d: 3,
}
for _convolution, _spatial in _CONVOLUTIONS.items():
    records(_convolution)(_recorded(_convolution, _spatial))
