"""Which hooks does the model need, and which ask something of it?

A hook that computes a weight belongs to the model: without it the model computes something else, or
nothing. A hook that records activations or replaces them belongs to a question about the training
image, and fires for that alone. No hook says which it is, so its code is asked: does it set
something on the module?
"""

from __future__ import annotations

import dis
import functools
from collections.abc import Callable
from itertools import pairwise
from types import FunctionType, MethodType
from typing import Any

from torch import nn

_SETTING = {"__setattr__", "copy_", "register_buffer", "register_parameter", "setattr"}


def is_needed(hook: Callable[..., Any], model: nn.Module) -> bool:
    """Whether a forward hook, or one before a forward, is one that the model needs."""
    function, owners = _unwrapped(hook)
    home = getattr(function, "__module__", None) or ""
    if home.split(".")[0] == "captum":
        return False
    if home.split(".")[0] == "torch":  # pruning, spectral and weight normalisation
        return True
    if any(_is_of(owner, model) for owner in owners):
        return True
    if not isinstance(function, FunctionType):
        return False  # a function written in C, such as print
    return _sets_on_module(function, len(owners))


def _unwrapped(hook: Any) -> tuple[Any, list[Any]]:
    """The function behind a hook, and what it is bound to."""
    owners: list[Any] = []
    while True:
        if isinstance(hook, functools.partial):
            owners += hook.args
            hook = hook.func
        elif isinstance(hook, MethodType):
            owners.append(hook.__self__)
            hook = hook.__func__
        elif isinstance(hook, FunctionType) or not hasattr(type(hook), "__call__"):  # noqa: B004
            return hook, owners
        elif isinstance(type(hook).__call__, FunctionType):
            owners.append(hook)
            hook = type(hook).__call__
        else:
            return hook, owners


def _is_of(owner: Any, model: nn.Module) -> bool:
    """Whether an object is a module of the model or is held by one."""
    return any(
        owner is module or any(owner is value for value in module.__dict__.values())
        for module in model.modules()
    )


def _sets_on_module(function: FunctionType, bound: int) -> bool:
    """Whether it sets an attribute of the module that it is called for, or may."""
    code = function.__code__
    module = code.co_varnames[bound : bound + 1]
    steps = list(dis.get_instructions(code))
    sets = any(
        step.opname == "STORE_ATTR"
        and (step.argval == "data" or _names(before).intersection(module))
        for before, step in pairwise(steps)
    )
    return sets or bool(_SETTING.intersection(code.co_names))


def _names(step: dis.Instruction) -> set[str]:
    """The variables that an instruction loads; some load two at a time."""
    if not step.opname.startswith("LOAD_"):
        return set()
    return set(step.argval[-1:] if isinstance(step.argval, tuple) else [step.argval])
