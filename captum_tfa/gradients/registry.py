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
    arguments, by the same names. The rows of what it returns must lie where those of the function's
    first argument do.

    Args:
        functions: functions of torch, or your own if torch shows their calls: those decorated with
            ``torch.overrides.wrap_torch_function``.

    Raises:
        TypeError: something else, whose calls would never be seen.
    """
    for function in functions:
        if not callable(function) or isinstance(function, type) or _is_plain(function):
            name = getattr(function, "__name__", repr(function))
            raise TypeError(
                f"Calls of {name} are not shown by torch, so a rule for it would never be used. "
                "Give a function of torch, or decorate your own with "
                "torch.overrides.wrap_torch_function and let your module call that."
            )

    def register(recorded: Recorded) -> Recorded:
        for function in functions:
            RECORDED[function] = recorded
        return recorded

    return register


def _is_plain(function: Callable[..., Any]) -> bool:
    """Whether it is a function in Python that does not hand itself to torch's modes."""
    if not isinstance(function, types.FunctionType):
        return False
    names = (*function.__code__.co_names, *function.__code__.co_freevars)
    return not any(
        name.startswith(("has_torch_function", "handle_torch_function")) for name in names
    )


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
