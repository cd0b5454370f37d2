"""Raw parameters that are added to activations or multiply them, and class tokens.

``x + p`` (position embeddings), ``x * p`` (layer scales) and ``p.expand(B, ...)`` (class tokens):
the gradient is the delta (times ``x``), summed over the dimensions along which ``p`` was repeated.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from captum_tfa.gradients.registry import records
from captum_tfa.gradients.rule import Rule
from captum_tfa.gradients.uses import ParameterUses


class BroadcastParameter(Rule):
    """A parameter that was repeated to the output's shape, times an activation if there is one."""

    leading = 1

    def __init__(self, shape: Sequence[int]) -> None:
        self.shape = tuple(shape)

    def gradient(self, inputs: tuple[Tensor, ...], delta: Tensor) -> Tensor:
        for factor in inputs:
            delta = delta * factor
        delta = delta.sum(1)  # [B, *rest]
        aligned = (1,) * (delta.ndim - len(self.shape)) + self.shape
        summed = [axis for axis in range(1, delta.ndim) if aligned[axis] < delta.shape[axis]]
        if summed:
            delta = delta.sum(summed, keepdim=True)
        return delta.reshape(len(delta), *self.shape)


def _repeats(parameter: Tensor, output: Tensor) -> bool:
    """Whether the parameter was repeated along dimension 0, where the examples are."""
    return parameter.ndim < output.ndim or (
        parameter.ndim == output.ndim and parameter.shape[0] == 1
    )


def _binary(operation: Callable[..., Tensor], multiplies: bool) -> Callable[..., Any]:
    def recorded(uses: ParameterUses, input: Any, other: Any, **kwargs: Any) -> Any:
        left, right = uses.is_parameter(input), uses.is_parameter(other)
        if (
            left == right
            or kwargs
            or not isinstance(input, Tensor)
            or not isinstance(other, Tensor)
        ):
            return uses.leave(operation, input, other, **kwargs)
        parameter, activation = (input, other) if left else (other, input)
        constant = parameter.detach()
        output = operation(constant, activation) if left else operation(activation, constant)
        if not _repeats(parameter, output) or (
            # Nothing but a parameter computed from this one.
            output.shape == parameter.shape and not uses.trace.is_of_images(activation)
        ):
            return uses.leave(operation, input, other)
        factors = (activation.expand_as(output),) if multiplies else ()
        return uses.record(output, (parameter, BroadcastParameter(parameter.shape), factors))

    return recorded


_SUMS: list[Any] = [torch.add, Tensor.add, Tensor.__add__, Tensor.__radd__]
_PRODUCTS: list[Any] = [torch.mul, Tensor.mul, Tensor.__mul__, Tensor.__rmul__]
for _operation in _SUMS + _PRODUCTS:
    records(_operation)(_binary(_operation, multiplies=_operation in _PRODUCTS))


@records(Tensor.expand)
def expand(uses: ParameterUses, input: Tensor, *sizes: Any, **kwargs: Any) -> Tensor:
    output = uses.leave(Tensor.expand, input, *sizes, **kwargs)
    if not uses.is_parameter(input) or not _repeats(input, output):
        return output
    # The expanded view of a constant cannot be attached to the graph in place; a copy can.
    return uses.record(output.detach().clone(), (input, BroadcastParameter(input.shape), ()))
