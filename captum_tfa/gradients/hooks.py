"""Twins of a model with other hooks, made of the user's own parameters and buffers.

Captum's layer methods read and replace activations through forward hooks, and expect them to
fire for the training batch alone. The test example therefore runs through such a twin. Nothing is
copied but the modules' attribute dictionaries, so the twin is made in a moment, sees the model
as it is now, and leaves it untouched, also when other threads are using it.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils import prune, spectral_norm, weight_norm

# Hooks that compute a weight belong to the model, not to the user who watches it.
_STRUCTURAL = (
    prune.BasePruningMethod,
    spectral_norm.__globals__["SpectralNorm"],
    weight_norm.__globals__["WeightNorm"],
)

_HOOKS = (
    "_forward_hooks",
    "_forward_pre_hooks",
    "_backward_hooks",
    "_backward_pre_hooks",
)


Hook = Callable[..., Any]


def hookless(model: nn.Module) -> nn.Module:
    """A module that computes what ``model`` computes now and fires none of its hooks."""
    return _twin(model, {}, lambda hook, module: None)


def without_graph_for_hooks(model: nn.Module) -> nn.Module:
    """A module that computes what ``model`` computes now; its hooks see no autograd graph.

    A score computes gradients also for callers who turned them off. What hooks save there must
    not hold on to the graph: Captum returns it to the user. A hook that returns something takes
    part in the computation, and is called once more to do so.
    """
    return _twin(model, {}, _looking_only)


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


def _twin(
    module: nn.Module,
    made: dict[nn.Module, nn.Module],
    instead: Callable[[Hook, nn.Module], Hook | None],
) -> nn.Module:
    """The module with other hooks instead of the user's; ``None`` stands for none."""
    if isinstance(module, torch.jit.ScriptModule):
        return module  # lives in C++: it has no attribute dictionary to share
    if module in made:
        return made[module]
    twin = made[module] = object.__new__(type(module))
    twin.__dict__.update(module.__dict__)
    for name in _HOOKS:
        hooks = {
            key: hook if isinstance(hook, _STRUCTURAL) else instead(hook, module)
            for key, hook in module.__dict__[name].items()
        }
        kept = ((key, hook) for key, hook in hooks.items() if hook is not None)
        twin.__dict__[name] = OrderedDict(kept)
    for name, value in module.__dict__.items():
        if name not in _HOOKS:
            twin.__dict__[name] = _with_twins(value, made, instead)
    return twin


def _with_twins(
    value: Any,
    made: dict[nn.Module, nn.Module],
    instead: Callable[[Hook, nn.Module], Hook | None],
) -> Any:
    """An attribute's value with twins in the place of modules, in plain containers too."""
    if isinstance(value, nn.Module):
        return _twin(value, made, instead)
    if type(value) in (list, tuple) and any(isinstance(item, nn.Module) for item in value):
        return type(value)(_with_twins(item, made, instead) for item in value)
    if type(value) in (dict, OrderedDict) and any(
        isinstance(item, nn.Module) for item in value.values()
    ):
        return type(value)((key, _with_twins(item, made, instead)) for key, item in value.items())
    return value
