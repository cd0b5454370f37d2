"""Convolutions and transposed convolutions in one, two and three dimensions.

A convolution ``φ(a, W)`` is linear in each of its two arguments, so all that is needed are its two
adjoints: the gradient of the weight is the one, ``δ ↦ g_W``, and the way back to the activation
the other. Padding modes other than zeros come as a separate padding of the input and
need nothing here.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from captum_tfa.gradients.gram import Gram, GramRule
from captum_tfa.gradients.modes import without_autocast
from captum_tfa.gradients.registry import records
from captum_tfa.gradients.rule import StoredTerm
from captum_tfa.gradients.rules.sums import ChannelSum
from captum_tfa.gradients.rules.windows import ShiftedGram, windows
from captum_tfa.gradients.uses import ParameterUses

# Up to this many numbers in the windows of one example, one product for the whole batch is faster
# than a convolution for each example.
_SMALL_WINDOWS = 2**19

Sizes = int | Sequence[int]


@dataclass(frozen=True)
class Geometry:
    """The settings of a convolution, one number for each spatial dimension."""

    stride: tuple[int, ...]
    padding: tuple[int, ...]
    dilation: tuple[int, ...]
    transposed: bool
    output_padding: tuple[int, ...]
    groups: int

    def apply(self, input: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
        """``φ(input, weight) + bias``."""
        return torch.convolution(
            input,
            weight,
            bias,
            self.stride,
            self.padding,
            self.dilation,
            self.transposed,
            self.output_padding,
            self.groups,
        )

    def to_input(self, delta: Tensor, input: Tensor, weight: Tensor) -> Tensor:
        """The adjoint in the input: from ``δ`` to the gradient of the input."""
        return self._adjoints(delta, input, weight, [True, False, False])[0]

    def to_weight(self, delta: Tensor, input: Tensor, weight: Tensor) -> Tensor:
        """The adjoint in the weight: from ``δ`` to ``g_W``. Of ``weight`` only the shape counts."""
        return self._adjoints(delta, input, weight, [False, True, False])[1]

    def _adjoints(
        self, delta: Tensor, input: Tensor, weight: Tensor, wanted: list[bool]
    ) -> tuple[Tensor, ...]:
        adjoints: tuple[Tensor, ...] = torch.ops.aten.convolution_backward(
            delta,
            input,
            weight,
            None,
            self.stride,
            self.padding,
            self.dilation,
            self.transposed,
            self.output_padding,
            self.groups,
            wanted,
        )
        return adjoints


class _Convolve(torch.autograd.Function):
    """``φ(a, W) + b`` with constant weights, for which autograd does not look.

    Torch's own second derivative of a convolution also computes the weight's part, a sixth of a
    map's whole cost, and throws it away.
    """

    @staticmethod
    def forward(
        ctx: Any, input: Tensor, weight: Tensor, bias: Tensor | None, geometry: Geometry
    ) -> Tensor:
        ctx.save_for_backward(weight)
        ctx.geometry, ctx.like = geometry, (input.shape, input.dtype, input.device)
        return geometry.apply(input, weight, bias)

    @staticmethod
    @without_autocast
    def backward(ctx: Any, delta: Tensor) -> tuple[Tensor, None, None, None]:
        (weight,) = ctx.saved_tensors
        return _ConvolveBack.apply(delta, weight, ctx.geometry, ctx.like), None, None, None


class _ConvolveBack(torch.autograd.Function):
    """The adjoint of `_Convolve`, whose own adjoint is the convolution again."""

    @staticmethod
    def forward(ctx: Any, delta: Tensor, weight: Tensor, geometry: Geometry, like: Any) -> Tensor:
        ctx.save_for_backward(weight)
        ctx.geometry = geometry
        shape, dtype, device = like
        input = torch.empty(1, dtype=dtype, device=device).expand(shape)
        return geometry.to_input(delta, input, weight)

    @staticmethod
    @without_autocast
    def backward(ctx: Any, adjoint: Tensor) -> tuple[Tensor, None, None, None]:
        (weight,) = ctx.saved_tensors
        return _Convolve.apply(adjoint, weight, None, ctx.geometry), None, None, None


class _WeightGradients(torch.autograd.Function):
    """``g_W`` of each example, ``[B, *shape]``, from ``[B, r, C, ...]`` and ``[B, r, O, ...]``."""

    @staticmethod
    def forward(
        ctx: Any, input: Tensor, delta: Tensor, geometry: Geometry, shape: Sequence[int]
    ) -> Tensor:
        ctx.save_for_backward(input, delta)
        ctx.geometry = geometry
        weight = input.new_empty(1).expand(len(input), *shape)
        return _each(geometry.to_weight, delta, input, weight)

    @staticmethod
    @without_autocast
    def backward(ctx: Any, adjoint: Tensor) -> tuple[Tensor | None, Tensor | None, None, None]:
        input, delta = ctx.saved_tensors
        to_input = to_delta = None
        if ctx.needs_input_grad[0]:
            to_input = _each(ctx.geometry.to_input, delta, input, adjoint)
        if ctx.needs_input_grad[1]:
            to_delta = _each(ctx.geometry.apply, input, adjoint)
        return to_input, to_delta, None, None


def _each(operation: Callable[..., Tensor], *examples: Tensor) -> Tensor:
    """The operation on every example by itself, stacked."""
    if len(examples[0]) == 1:
        return operation(*(tensor[0] for tensor in examples)).unsqueeze(0)
    return torch.stack([operation(*one) for one in zip(*examples, strict=True)])


class ConvolutionWeight(GramRule):
    """Weight of a convolution, ``[O, C / groups, *kernel]``.

    Of a transposed one it is ``[C, O / groups, *kernel]``.
    """

    leading = 1

    def __init__(self, shape: Sequence[int], geometry: Geometry) -> None:
        self.shape, self.geometry = tuple(shape), geometry

    def gradient(self, inputs: tuple[Tensor, ...], delta: Tensor) -> Tensor:
        sizes = self.sizes(inputs, delta)
        if sizes is not None and sizes[0] * sizes[1] * self.geometry.groups <= _SMALL_WINDOWS:
            product = self.deltas(delta).mT @ self.activations(inputs[0])
            return product.reshape(len(delta), *self.shape)
        gradients: Tensor = _WeightGradients.apply(inputs[0], delta, self.geometry, self.shape)
        return gradients

    def sizes(self, inputs: tuple[Tensor, ...], delta: Tensor) -> tuple[int, int, int] | None:
        if self.geometry.transposed or len(self.shape) != 4:
            return None
        positions = delta.shape[1] * delta.shape[3] * delta.shape[4]
        return positions, math.prod(self.shape[1:]), self.shape[0] // self.geometry.groups

    def grams(
        self, inputs: tuple[Tensor, ...], delta: Tensor, tests: StoredTerm | None
    ) -> list[Gram]:
        found = super().grams(inputs, delta, tests)
        geometry = self.geometry
        deltas = [delta] if tests is None else [delta, tests.delta]
        one_image_each = all(each.shape[1] == 1 for each in deltas)
        if found and one_image_each and set(geometry.stride) == {1}:
            kernel, groups = self.shape[2:], geometry.groups
            found.append(ShiftedGram(kernel, geometry.dilation, geometry.padding, groups))
        return found

    def activations(self, input: Tensor) -> Tensor:
        geometry = self.geometry
        seen = windows(
            input.flatten(0, 1),
            self.shape[2:],
            geometry.dilation,
            geometry.padding,
            geometry.stride,
        )
        return _positions_first(seen.unflatten(0, input.shape[:2]), geometry.groups)

    def applied(self, input: Tensor, weight: Tensor) -> Tensor:
        output: Tensor = _Convolve.apply(input.flatten(0, 1), weight, None, self.geometry)
        return output.view(*input.shape[:2], *output.shape[1:])

    def deltas(self, delta: Tensor) -> Tensor:
        return _positions_first(delta.flatten(3), self.geometry.groups)


def _positions_first(tensor: Tensor, groups: int) -> Tensor:
    """``[B, r, channels, T]`` as ``[B, groups, r · T, channels / groups]``."""
    grouped = tensor.reshape(*tensor.shape[:2], groups, -1, tensor.shape[3])
    return grouped.permute(0, 2, 1, 4, 3).flatten(2, 3)


def sizes(value: Sizes, spatial: int) -> tuple[int, ...]:
    """One number for each spatial dimension; a single one counts for all."""
    given = (value,) if isinstance(value, int) else tuple(value)
    return given * spatial if len(given) == 1 else given


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
            return uses.leave(convolution, input, weight, bias, stride, padding, dilation, groups)
        spread = sizes(dilation, spatial)
        if isinstance(padding, str):
            input, padding = _padded(input, padding, weight.shape[2:], spread)
        geometry = Geometry(
            sizes(stride, spatial),
            sizes(padding, spatial),
            spread,
            transposed=False,
            output_padding=(0,) * spatial,
            groups=groups,
        )
        return convolve(uses, input, weight, bias, geometry)

    return recorded


def convolve(
    uses: ParameterUses, input: Tensor, weight: Tensor, bias: Tensor | None, geometry: Geometry
) -> Tensor:
    """``φ(input, weight) + bias``, recorded."""
    constant = uses.constant(weight)
    if constant.requires_grad:  # computed from parameters: autograd takes it from here
        output = geometry.apply(input, constant, uses.constant(bias))
    else:
        output = _Convolve.apply(input, constant, uses.constant(bias), geometry)
    rule = ConvolutionWeight(weight.shape, geometry)
    return uses.record(output, (weight, rule, (input,)), (bias, ChannelSum(scale=False), ()))


def _padded(
    input: Tensor, padding: str, kernel: Sequence[int], dilation: Sequence[int]
) -> tuple[Tensor, int]:
    """The input with the padding that a word stands for, and the padding that is left to do."""
    if padding != "same":
        return input, 0
    totals = [spread * (size - 1) for size, spread in zip(kernel, dilation, strict=True)]
    # An odd one goes behind, as torch does it.
    amounts = [(total // 2, total - total // 2) for total in reversed(totals)]
    return F.pad(input, [amount for pair in amounts for amount in pair]), 0


_CONVOLUTIONS: dict[Any, int] = {F.conv1d: 1, F.conv2d: 2, F.conv3d: 3}
for _convolution, _spatial in _CONVOLUTIONS.items():
    records(_convolution)(_recorded(_convolution, _spatial))
