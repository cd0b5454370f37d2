"""Transposed convolutions: convolutions with their two sides exchanged."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch.nn.functional as F
from torch import Tensor

from captum_tfa.gradients.registry import records
from captum_tfa.gradients.rules.convolution import Geometry, Sizes, convolve, sizes
from captum_tfa.gradients.uses import ParameterUses


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
        if input.ndim != spatial + 2:  # a single example without a batch dimension
            return uses.leave(
                convolution, input, weight, bias, stride, padding, output_padding, groups, dilation
            )
        geometry = Geometry(
            sizes(stride, spatial),
            sizes(padding, spatial),
            sizes(dilation, spatial),
            transposed=True,
            output_padding=sizes(output_padding, spatial),
            groups=groups,
        )
        return convolve(uses, input, weight, bias, geometry)

    return recorded


_CONVOLUTIONS: dict[Any, int] = {
    F.conv_transpose1d: 1,
    F.conv_transpose2d: 2,
    F.conv_transpose3d: 3,
}
for _convolution, _spatial in _CONVOLUTIONS.items():
    records(_convolution)(_recorded(_convolution, _spatial))
