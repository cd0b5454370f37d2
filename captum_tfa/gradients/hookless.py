"""A twin of a model without the user's hooks, made of the user's own parameters and buffers.

Captum's layer methods read and replace activations through forward hooks, and expect them to
fire for the training batch alone. The test example therefore runs through this twin. Nothing is
copied but the modules' attribute dictionaries, so the twin is made in a moment, sees the model
as it is now, and leaves it untouched, also when other threads are using it.
"""

from __future__ import annotations

from collections import OrderedDict

import torch
from torch import nn
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


def hookless(model: nn.Module) -> nn.Module:
    """A module that computes what ``model`` computes now and fires none of its hooks."""
    return _twin(model, {})


def _twin(module: nn.Module, made: dict[nn.Module, nn.Module]) -> nn.Module:
    if isinstance(module, torch.jit.ScriptModule):
        return module  # lives in C++: it has no attribute dictionary to share
    if module not in made:
        twin = object.__new__(type(module))
        made[module] = twin
        twin.__dict__.update(module.__dict__)
        for name in _HOOKS:
            hooks = module.__dict__[name]
            kept = {key: hook for key, hook in hooks.items() if isinstance(hook, _STRUCTURAL)}
            twin.__dict__[name] = OrderedDict(kept)
        twin.__dict__["_modules"] = {
            name: None if child is None else _twin(child, made)
            for name, child in module._modules.items()
        }
    return made[module]
