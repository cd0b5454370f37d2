"""Maxima over windows: on a CPU, torch finds them ten times as fast with the channels last."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from captum_tfa.gradients.registry import rewrites
from captum_tfa.gradients.rules.convolution import Sizes


class _MaxPool(torch.autograd.Function):
    """The maxima of a channel-first batch, found with the channels last."""

    @staticmethod
    def forward(ctx: Any, input: Tensor, *settings: Any) -> Tensor:
        channels_last = input.contiguous(memory_format=torch.channels_last)
        maxima, places = torch.ops.aten.max_pool2d_with_indices(channels_last, *settings)
        ctx.save_for_backward(places.contiguous())
        ctx.settings, ctx.shape = settings, input.shape
        channels_first: Tensor = maxima.contiguous()
        return channels_first

    @staticmethod
    def backward(ctx: Any, delta: Tensor) -> tuple[Tensor | None, ...]:
        (places,) = ctx.saved_tensors
        like = delta.new_empty(1).expand(ctx.shape)  # of the input only the shape counts
        to_input = torch.ops.aten.max_pool2d_with_indices_backward(
            delta, like, *ctx.settings, places
        )
        return to_input, *[None] * len(ctx.settings)


@rewrites(F.max_pool2d)
def max_pool2d(
    input: Tensor,
    kernel_size: Sizes,
    stride: Sizes | None = None,
    padding: Sizes = 0,
    dilation: Sizes = 1,
    ceil_mode: bool = False,
    return_indices: bool = False,
) -> Tensor:
    settings: Any = (kernel_size, [] if stride is None else stride, padding, dilation, ceil_mode)
    if input.ndim != 4 or input.device.type != "cpu":
        return torch.max_pool2d(input, *settings)
    maxima: Tensor = _MaxPool.apply(input, *settings)
    return maxima
