"""What a first layer's response to one feature, or to a group of them, is.

A layer ``z = A x + b`` is linear: the part of ``z`` that a feature ``i`` brings is ``A (x_i e_i)``,
for a fully connected layer column ``i`` times ``x_i``. With the change of the weights, ``ΔA``, in
the place of ``A``, it is what swapping the feature's weights changes.
"""

from __future__ import annotations

from functools import cached_property
from itertools import product
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class FeatureParts:
    """``ΔA`` of one layer, applied to parts of what enters it.

    Args:
        layer: a ``Linear`` or ``Conv1d`` to ``Conv3d``.
        change: of its weight.
    """

    def __init__(self, layer: nn.Module, change: Tensor) -> None:
        self.layer: Any = layer
        self.change = change

    def of(self, entering: Tensor) -> Tensor:
        """``ΔA x`` of ``x [k, ...]``, without a bias."""
        if isinstance(self.layer, nn.Linear):
            return F.linear(entering, self.change)
        whole: Tensor = self.layer._conv_forward(entering, self.change, None)
        return whole

    def moving(self, entering: Tensor) -> Tensor:
        """Which numbers ``[B, size]`` have a part other than zero at all."""
        return (entering.flatten(1) != 0) & self._changed(entering)

    def add_single(
        self, response: Tensor, values: Tensor, places: Tensor, shape: torch.Size
    ) -> None:
        """Adds the part of one number to each response, in place.

        Args:
            response: ``z [k, ...]``.
            values: the numbers, ``[k]``.
            places: which numbers they are of those that enter for a row, ``[k]``.
            shape: of what enters, without the batch.
        """
        rows = torch.arange(len(response), device=response.device)
        if isinstance(self.layer, nn.Linear):
            width = shape[-1]
            parts = self.change.T[places % width] * values[:, None]
            response.view(len(response), -1, response.shape[-1])[rows, places // width] += parts
        elif self.layer.padding_mode != "zeros":  # a number may come at several places
            alone = response.new_zeros(len(response), *shape)
            alone.view(len(alone), -1)[rows, places] = values
            response += self.of(alone)
        else:
            self._add_convolved(response, values, places, shape[1:])

    def _changed(self, entering: Tensor) -> Tensor:
        """``[size]``: whether the weights of each number changed."""
        if isinstance(self.layer, nn.Linear):
            columns = self.change.ne(0).any(0)
            return columns.expand(entering.shape[1:]).flatten()
        channels = self._dense.ne(0).flatten(2).any(2).any(0)
        shape = entering.shape[1:]
        return channels.view(-1, *[1] * (len(shape) - 1)).expand(shape).flatten()

    @cached_property
    def _dense(self) -> Tensor:
        """The change of a convolution's weight as if it had one group, ``[O, C, ...]``."""
        groups = self.layer.groups
        if groups == 1:
            return self.change
        out, width = self.change.shape[:2]
        dense = self.change.new_zeros(out, width * groups, *self.change.shape[2:])
        for group, rows in enumerate(torch.arange(out).split(out // groups)):
            dense[rows, group * width : (group + 1) * width] = self.change[rows]
        return dense

    @cached_property
    def _kernels(self) -> Tensor:
        return self._dense.flatten(2).permute(1, 2, 0)  # [C, K, O]

    def _add_convolved(
        self, response: Tensor, values: Tensor, places: Tensor, sizes: torch.Size
    ) -> None:
        """Each number reaches one place of the response for each place of the kernel, or none."""
        outs = response.shape[2:]
        kernel, stride = self.layer.kernel_size, self.layer.stride
        dilation = self.layer.dilation
        before = _padding_before(self.layer)
        rest = places
        coordinates: list[Tensor] = []
        for size in reversed(sizes):
            coordinates.insert(0, rest % size)
            rest = rest // size
        channels = rest
        offsets = torch.tensor([*product(*map(range, kernel))], device=places.device)  # [K, D]
        reached = torch.zeros(len(places), len(offsets), dtype=torch.long, device=places.device)
        inside = torch.ones_like(reached, dtype=torch.bool)
        for axis, coordinate in enumerate(coordinates):
            way = coordinate[:, None] + before[axis] - dilation[axis] * offsets[None, :, axis]
            at = way.div(stride[axis], rounding_mode="floor")
            inside &= (way % stride[axis] == 0) & (at >= 0) & (at < outs[axis])
            reached = reached * outs[axis] + at
        rows, which = inside.nonzero(as_tuple=True)
        parts = self._kernels[channels[rows], which] * values[rows, None]
        response.view(*response.shape[:2], -1)[rows, :, reached[rows, which]] += parts


def _padding_before(layer: Any) -> list[int]:
    if layer.padding == "valid":
        return [0] * len(layer.kernel_size)
    if layer.padding == "same":
        both = [d * (k - 1) for d, k in zip(layer.dilation, layer.kernel_size, strict=True)]
        return [one // 2 for one in both]
    return list(layer.padding)
