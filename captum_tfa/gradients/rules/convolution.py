"""Convolutions in one, two and three dimensions.

With the windows of the padded activation unfolded to columns ``[T, K]`` (``T`` output positions,
``K`` entries of one kernel), a convolution is a linear map of each group: ``g_W = Σ_t δ_t col_tᵀ``.
Padding modes other than zeros come as a separate padding of the input and need nothing here.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch.nn.functional as F
from torch import Tensor

from captum_tfa.gradients.rules.sums import ChannelSum
from captum_tfa.gradients.uses import ParameterUses, Rule, records

Sizes = int | Sequence[int]


def columns(
    input: Tensor,
    kernel: Sequence[int],
    stride: Sequence[int],
    padding: Sequence[tuple[int, int]],
    dilation: Sequence[int],
    groups: int,
) -> Tensor:
    """The windows that a convolution sees, ``[N, groups, K, *output size]``.

    Args:
        input: activations ``[N, C, *size]``.
        kernel: kernel size of each spatial dimension.
        stride: likewise.
        dilation: likewise.
        padding: zeros before and after, of each spatial dimension.
        groups: how many groups of channels there are; ``K = C / groups · Π kernel``.
    """
    spatial = len(kernel)
    windows = F.pad(input, [amount for pair in reversed(padding) for amount in pair])
    for axis, (size, step, spread) in enumerate(zip(kernel, stride, dilation, strict=True), 2):
        windows = windows.unfold(axis, (size - 1) * spread + 1, step)[..., ::spread]
    # [N, C, *output, *kernel] -> [N, C, *kernel, *output]
    output_axes = range(2, 2 + spatial)
    kernel_axes = range(2 + spatial, 2 + 2 * spatial)
    windows = windows.permute(0, 1, *kernel_axes, *output_axes)
    output = windows.shape[2 + spatial :]
    return windows.reshape(len(input), groups, -1, *output)


class ConvolutionWeight(Rule):
    """Weight ``[O, C / groups, *kernel]`` of a convolution."""

    leading = 1

    def __init__(
        self,
        shape: Sequence[int],
        stride: Sequence[int],
        padding: Sequence[tuple[int, int]],
        dilation: Sequence[int],
        groups: int,
    ) -> None:
        self.shape, self.groups = tuple(shape), groups
        self.stride, self.padding, self.dilation = stride, padding, dilation

    def gradient(self, inputs: tuple[Tensor, ...], delta: Tensor) -> Tensor:
        batch, repeats = delta.shape[:2]
        unfolded = columns(
            inputs[0].flatten(0, 1),
            self.shape[2:],
            self.stride,
            self.padding,
            self.dilation,
            self.groups,
        )
        # [example, repeats, group, channels or kernel entries, *output size]
        unfolded = unfolded.unflatten(0, (batch, repeats))
        delta = delta.unflatten(2, (self.groups, -1))
        # Output positions beyond the mirrored activation's exist where a transposed convolution
        # pads its output: no window of the activation reaches them.
        unfolded = unfolded[(..., *(slice(size) for size in delta.shape[4:]))]
        delta = delta.flatten(4).movedim(1, 3).flatten(3)
        unfolded = unfolded.flatten(4).movedim(1, 3).flatten(3)
        gradient: Tensor = delta @ unfolded.transpose(2, 3)
        return gradient.reshape(batch, *self.shape)


def sizes(value: Sizes, spatial: int) -> tuple[int, ...]:
    """One number for each spatial dimension; a single one counts for all."""
    given = (value,) if isinstance(value, int) else tuple(value)
    return given * spatial if len(given) == 1 else given


def _paddings(
    padding: Sizes | str, kernel: Sequence[int], dilation: Sequence[int]
) -> list[tuple[int, int]]:
    """Zeros before and after each dimension; ``"same"`` puts an odd one behind, as torch does."""
    if padding == "valid":
        return [(0, 0)] * len(kernel)
    if padding == "same":
        totals = [spread * (size - 1) for size, spread in zip(kernel, dilation, strict=True)]
        return [(total // 2, total - total // 2) for total in totals]
    assert not isinstance(padding, str)  # torch itself has refused any other word by now
    return [(amount, amount) for amount in sizes(padding, len(kernel))]


def _recorded(convolution: Callable[..., Tensor], spatial: int) -> Callable[..., Tensor]:
    def recorded(
        uses: ParameterUses,
        input: Tensor,
        weight: Tensor,
        bias: Tensor | None = None,
        stride: Sizes = 1,
        padding: Sizes | str = 0,
        dilation: Sizes = 1,
        groups: int = 1,
    ) -> Tensor:
        if input.ndim != spatial + 2:  # a single example without a batch dimension
            return convolution(input, weight, bias, stride, padding, dilation, groups)
        output = convolution(
            input, uses.constant(weight), uses.constant(bias), stride, padding, dilation, groups
        )
        kernel, spread = weight.shape[2:], sizes(dilation, spatial)
        rule = ConvolutionWeight(
            weight.shape,
            sizes(stride, spatial),
            _paddings(padding, kernel, spread),
            spread,
            groups,
        )
        return uses.record(output, (weight, rule, (input,)), (bias, ChannelSum(scale=False), ()))

    return recorded


_CONVOLUTIONS: dict[Any, int] = {F.conv1d: 1, F.conv2d: 2, F.conv3d: 3}
for _convolution, _spatial in _CONVOLUTIONS.items():
    records(_convolution)(_recorded(_convolution, _spatial))
