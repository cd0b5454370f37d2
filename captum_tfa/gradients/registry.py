"""What is done instead of a function of torch while uses of parameters are recorded."""

from __future__ import annotations

import types
from collections.abc import Callable
from typing import Any

import torch.nn.functional as F
from torch import Tensor

Recorded = Callable[..., Any]

RECORDED: dict[Callable[..., Any], Recorded] = {}
"""Functions that use parameters, computed with constant parameters and recorded."""

REWRITTEN: dict[Callable[..., Any], Callable[..., Tensor]] = {}
"""Functions computed in another way: they have no second derivative, or it is slow."""


def records(*functions: Callable[..., Any]) -> Callable[[Recorded], Recorded]:
    """Register what is done instead of each of these functions while uses are recorded.

    The registered function takes the `ParameterUses` first and then exactly the function's own
    arguments, by the same names.
    """

    def register(recorded: Recorded) -> Recorded:
        for function in functions:
            RECORDED[function] = recorded
        return recorded

    return register


def rewrites(
    function: Callable[..., Any],
) -> Callable[[Callable[..., Tensor]], Callable[..., Tensor]]:
    """Register an equal computation for a function without a second derivative, or a slow one."""

    def register(equal: Callable[..., Tensor]) -> Callable[..., Tensor]:
        REWRITTEN[function] = equal
        return equal

    return register


def _opened(function: Any) -> Callable[..., Any]:
    """A copy of a composite function whose inner calls a `ParameterUses` sees.

    Functions of ``torch.nn.functional`` that are written in Python hand themselves over whole
    when a mode is active. In the copy that first check always says no.
    """
    unchecked = dict.fromkeys(
        ("has_torch_function", "has_torch_function_unary", "has_torch_function_variadic"),
        lambda *tensors: False,
    )
    copy = types.FunctionType(
        function.__code__,
        {**function.__globals__, **unchecked},
        function.__name__,
        function.__defaults__,
        function.__closure__,
    )
    copy.__kwdefaults__ = function.__kwdefaults__
    return copy


OPENED: dict[Callable[..., Any], Callable[..., Any]] = {
    F.multi_head_attention_forward: _opened(F.multi_head_attention_forward),
}
