"""Twins of a model with other hooks, made of the user's own parameters and buffers.

Captum's layer methods read and replace activations through forward hooks, and expect them to
fire for the training batch alone. The test example therefore runs through such a twin. Nothing is
copied but the modules' attribute dictionaries, so the twin is made in a moment, sees the model
as it is now, and leaves it untouched. What is bound to a module (a ``forward`` that was set on it,
a partial function, a closure) is bound to its twin; where a call still finds its way to a module of
the user's whose hooks must not fire, it is refused.
"""

from __future__ import annotations

import functools
import types
from collections import OrderedDict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, NoReturn

import torch
from torch import Tensor, nn

from captum_tfa.gradients.needed_hooks import is_needed

_FORWARD_HOOKS = ("_forward_hooks", "_forward_pre_hooks")
_HOOKS = (*_FORWARD_HOOKS, "_backward_hooks", "_backward_pre_hooks")

Hook = Callable[..., Any]
Instead = Callable[[Hook, nn.Module], Hook | None]


def hookless(model: nn.Module) -> nn.Module:
    """A module that computes what ``model`` computes now and fires only the hooks that it needs."""
    return _Twins(model, lambda hook, module: None).of(model)


def without_graph_for_hooks(model: nn.Module) -> nn.Module:
    """A module that computes what ``model`` computes now; its hooks see no autograd graph.

    A score computes gradients also for callers who turned them off. What hooks save there must
    not hold on to the graph: Captum returns it to the user. A hook that returns something takes
    part in the computation, and is called once more to do so.
    """
    return _Twins(model, _looking_only).of(model)


@contextmanager
def in_the_place_of(model: nn.Module) -> Iterator[None]:
    """While a twin runs, no module of the model itself may: its observers would see the pass.

    Raises:
        RuntimeError: a module of the model with such hooks is called.
    """
    guards = []
    for name, module in model.named_modules():
        hooks = [hook for kind in _FORWARD_HOOKS for hook in getattr(module, kind).values()]
        if not all(is_needed(hook, model) for hook in hooks):
            guard = functools.partial(_refuse_call, name or type(model).__name__)
            guards.append(module.register_forward_pre_hook(guard, prepend=True))
    try:
        yield
    finally:
        for handle in guards:
            handle.remove()


def _refuse_call(name: str, module: nn.Module, arguments: Any) -> NoReturn:
    raise RuntimeError(
        f"The model calls its module '{name}' in a way that cannot be followed: from an object, a "
        "global name or a function that is none of its attributes. The hooks on that module must "
        "see the training images only, and would now see others. Remove the hooks, or let the "
        "model call the module through an attribute of a module (self.layer(...))."
    )


def _looking_only(hook: Hook, module: nn.Module) -> Hook:
    def looking(_: nn.Module, *arguments: Any) -> Any:
        with torch.no_grad():
            returned = hook(module, *arguments)
        if returned is None or _same(returned, arguments[-1]):
            return None
        return hook(module, *arguments)

    return looking


def _same(returned: Any, given: Any) -> bool:
    """Whether a hook returned, perhaps as a copy, what it was given."""
    if isinstance(returned, Tensor) and isinstance(given, Tensor):
        return returned.shape == given.shape and bool(returned.eq(given).all())
    if isinstance(returned, tuple | list) and isinstance(given, tuple | list):
        return len(returned) == len(given) and all(map(_same, returned, given))
    return returned is given


class _Twins:
    """The twins of a model's modules.

    Args:
        model: the model.
        instead: from an observer's hook and its module to what fires instead; ``None`` for none.
    """

    def __init__(self, model: nn.Module, instead: Instead) -> None:
        self._model, self._instead = model, instead
        self._own = set(model.modules())
        self._made: dict[int, Any] = {}

    def of(self, module: nn.Module) -> nn.Module:
        """The twin of one module, and of those within it."""
        if isinstance(module, torch.jit.ScriptModule):
            return module  # lives in C++: it has no attribute dictionary to share
        if id(module) in self._made:
            return self._made[id(module)]  # type: ignore[no-any-return]
        twin = self._made[id(module)] = object.__new__(type(module))
        twin.__dict__.update(module.__dict__)
        for name, value in module.__dict__.items():
            if name in _HOOKS:
                twin.__dict__[name] = self._hooks(value, module)
            else:
                twin.__dict__[name] = self._value(value)
        return twin

    def _hooks(self, hooks: Any, module: nn.Module) -> OrderedDict[int, Hook]:
        kept: OrderedDict[int, Hook] = OrderedDict()
        for key, hook in hooks.items():
            needed = is_needed(hook, self._model)
            other = self._value(hook) if needed else self._instead(hook, module)
            if other is not None:
                kept[key] = other
        return kept

    def _value(self, value: Any) -> Any:
        """An attribute's value with twins in the place of modules, in plain containers too."""
        if not self._reaches(value, set()):
            return value
        if id(value) in self._made:
            return self._made[id(value)]
        twin: Any
        if isinstance(value, nn.Module):
            return self.of(value)
        if isinstance(value, dict):
            twin = self._made[id(value)] = type(value)()
            twin.update((key, self._value(item)) for key, item in value.items())
        elif isinstance(value, list):
            twin = self._made[id(value)] = type(value)()
            twin.extend(map(self._value, value))
        elif isinstance(value, tuple):
            twin = type(value)(map(self._value, value))
        elif isinstance(value, types.MethodType):
            twin = types.MethodType(value.__func__, self._value(value.__self__))
        elif isinstance(value, functools.partial):
            keywords = {key: self._value(item) for key, item in value.keywords.items()}
            twin = functools.partial(
                self._value(value.func), *map(self._value, value.args), **keywords
            )
            twin.__dict__.update(value.__dict__)
        else:
            twin = self._function(value)
        return twin

    def _function(self, function: types.FunctionType) -> types.FunctionType:
        """A function whose closure and defaults hold twins."""
        cells = tuple(
            types.CellType(self._value(cell.cell_contents)) for cell in function.__closure__ or ()
        )
        twin = types.FunctionType(
            function.__code__,
            function.__globals__,
            function.__name__,
            self._value(function.__defaults__),
            cells or None,
        )
        twin.__kwdefaults__ = self._value(function.__kwdefaults__)
        twin.__dict__.update(function.__dict__)
        return twin

    def _reaches(self, value: Any, seen: set[int]) -> bool:
        """Whether a module of the model is held by a value that can be made again."""
        if isinstance(value, nn.Module):
            return value in self._own
        if isinstance(value, Tensor | str | int | float | None) or id(value) in seen:
            return False
        seen.add(id(value))
        return any(self._reaches(item, seen) for item in _held(value))


def _held(value: Any) -> Iterator[Any]:
    """What a container or a function holds; an empty cell of a closure cannot be made again."""
    if type(value) in (dict, OrderedDict):
        yield from value.values()
    elif type(value) in (list, tuple):
        yield from value
    elif isinstance(value, types.MethodType):
        yield value.__self__
        yield from _held(value.__func__) if isinstance(value.__func__, types.FunctionType) else ()
    elif isinstance(value, functools.partial):
        yield from (value.func, *value.args, *value.keywords.values())
    elif isinstance(value, types.FunctionType):
        cells = value.__closure__ or ()
        if all(_filled(cell) for cell in cells):
            yield from (cell.cell_contents for cell in cells)
            yield from (value.__defaults__, value.__kwdefaults__)


def _filled(cell: types.CellType) -> bool:
    try:
        cell.cell_contents  # noqa: B018  an empty cell raises
    except ValueError:
        return False
    return True
