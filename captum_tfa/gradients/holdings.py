"""Where a model's modules hold things, beside their parameters, buffers and submodules."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from types import FunctionType, MethodType, ModuleType
from typing import Any

from torch import Tensor, nn

# What is registered there is no content of the model.
_HOOKS = {name for name in nn.Module().__dict__ if name.endswith("_hooks")}
_NOT_LOOKED_INTO = (Tensor, nn.Module, FunctionType, MethodType, ModuleType, type)
_PLAIN = {type(None), bool, int, float, str, Tensor, nn.Parameter}
_DEPTH = 3


def containers(module: nn.Module) -> Iterator[tuple[str, Any]]:
    """The lists, dicts, sets and deques in which a module holds things, with its attribute's name.

    The attributes of plain objects that it holds are such a dict; the module's own are not among
    them, those of its parameters and submodules are.
    """
    for name, value in module.__dict__.items():
        if name not in _HOOKS and type(value) not in _PLAIN:
            for held in _within(value, _DEPTH):
                yield name, held


def _within(value: Any, depth: int) -> Iterator[Any]:
    items: Iterable[Any]
    if isinstance(value, list | dict | set | deque):
        yield value
        items = value.values() if isinstance(value, dict) else value
    elif isinstance(value, tuple):
        items = value
    elif hasattr(value, "__dict__") and not isinstance(value, _NOT_LOOKED_INTO):
        yield value.__dict__
        items = value.__dict__.values()
    else:
        return
    if depth:
        for item in list(items):
            if type(item) not in _PLAIN:
                yield from _within(item, depth - 1)


def holds_tensor(value: Any) -> bool:
    """Whether a value is a tensor or a container with one."""
    if isinstance(value, dict):
        return any(map(holds_tensor, value.values()))
    if isinstance(value, list | tuple | set | deque):
        return any(map(holds_tensor, value))
    return isinstance(value, Tensor)
