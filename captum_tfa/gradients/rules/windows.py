"""What a convolution's kernel sees at each position, and Gram matrices of it."""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from captum_tfa.gradients.gram import Gram
from captum_tfa.gradients.modes import without_autocast


class _Windows(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        input: Tensor,
        kernel: Sequence[int],
        dilation: Sequence[int],
        padding: Sequence[int],
        stride: Sequence[int],
    ) -> Tensor:
        ctx.settings = (input.shape[2:], kernel, dilation, padding, stride)
        padded = _padded(input, padding).contiguous()
        counts = [
            (size - spread * (length - 1) - 1) // step + 1
            for size, spread, length, step in zip(
                padded.shape[2:], dilation, kernel, stride, strict=True
            )
        ]
        *outer, rows, columns = padded.stride()
        within = [rows * dilation[0], columns * dilation[1]]
        between = [rows * stride[0], columns * stride[1]]
        overlapping = padded.as_strided(
            (*padded.shape[:2], *kernel, *counts), (*outer, *within, *between)
        )
        return overlapping.reshape(len(input), -1, math.prod(counts))

    @staticmethod
    @without_autocast
    def backward(ctx: Any, adjoint: Tensor) -> tuple[Tensor | None, ...]:
        return F.fold(adjoint, *ctx.settings), None, None, None, None


def windows(
    input: Tensor,
    kernel: Sequence[int],
    dilation: Sequence[int],
    padding: Sequence[int],
    stride: Sequence[int],
) -> Tensor:
    """``F.unfold``: from ``[B, C, H, W]`` to windows ``[B, C · Πkernel, T]``.

    A copy of a view with overlapping windows, which takes a third of ``F.unfold``'s time on a CPU.
    """
    copied: Tensor = _Windows.apply(input, kernel, dilation, padding, stride)
    return copied


class ShiftedGram(Gram):
    """Gram matrices of windows without the windows, for convolutions of stride 1.

    Two windows are multiplied pixel by pixel, and so all of their products are sums, over the
    places in the kernel, of products of pixels: those are found once for all pairs of windows.

    Args:
        kernel: height and width.
        dilation: likewise.
        padding: likewise.
        groups: of channels.
    """

    def __init__(
        self, kernel: Sequence[int], dilation: Sequence[int], padding: Sequence[int], groups: int
    ) -> None:
        self.kernel, self.dilation, self.padding, self.groups = kernel, dilation, padding, groups

    def cost(self, input: Tensor, other: Tensor, pairs: int) -> int:
        pixels, others = (
            math.prod(
                size + 2 * amount
                for size, amount in zip(tensor.shape[3:], self.padding, strict=True)
            )
            for tensor in (input, other)
        )
        # An addition that goes through memory takes the time of some multiplications.
        additions = 4 * sum(self.kernel) * pairs
        return pixels * others * input.shape[2] // self.groups + additions

    def laid_out(self, input: Tensor) -> Tensor:
        """Padded activations ``[B, groups, C, H, W]``."""
        padded = _padded(input[:, 0], self.padding)
        return padded.reshape(len(padded), self.groups, -1, *padded.shape[2:])

    def products(self, laid_out: Tensor, other: Tensor) -> Tensor:
        pixels: Tensor = laid_out.flatten(3).mT @ other.flatten(3)
        sums: Tensor = pixels.unflatten(3, other.shape[3:]).unflatten(2, laid_out.shape[3:])
        for dimension in (0, 1):
            sums = functools.reduce(torch.add, self._shifted(sums, dimension))
        return sums.flatten(4).flatten(2, 3)

    def adjoint(self, delta: Tensor, other: Tensor, shape: torch.Size) -> Tensor:
        reach = [self._reach(dimension) for dimension in (0, 1)]
        own, others = (
            [size - lost for size, lost in zip(sizes[3:], reach, strict=True)]
            for sizes in (shape, other.shape)
        )
        pixels: Tensor = delta.unflatten(3, others).unflatten(2, own)
        for dimension in (1, 0):
            sizes = list(pixels.shape)
            sizes[2 + dimension] += reach[dimension]
            sizes[4 + dimension] += reach[dimension]
            total = pixels.new_zeros(sizes)
            for view in self._shifted(total, dimension):
                view += pixels
            pixels = total
        return (other.flatten(3) @ pixels.flatten(4).flatten(2, 3).mT).view(shape)

    def _reach(self, dimension: int) -> int:
        return self.dilation[dimension] * (self.kernel[dimension] - 1)

    def _shifted(self, pixels: Tensor, dimension: int) -> list[Tensor]:
        """Views of ``[B, groups, H, W, H', W']``, one for each place along a dimension."""
        reach = self._reach(dimension)
        views = []
        for start in range(0, reach + 1, self.dilation[dimension]):
            view = pixels
            for axis in (2 + dimension, 4 + dimension):
                view = view.narrow(axis, start, pixels.shape[axis] - reach)
            views.append(view)
        return views


def _padded(input: Tensor, padding: Sequence[int]) -> Tensor:
    down, right = padding
    return F.pad(input, (right, right, down, down))
