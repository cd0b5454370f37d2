"""All that a call must leave in a model as it found it."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

HOOKS = (
    "_forward_hooks",
    "_forward_pre_hooks",
    "_backward_hooks",
    "_backward_pre_hooks",
    "_forward_hooks_with_kwargs",
    "_forward_pre_hooks_with_kwargs",
    "_forward_hooks_always_called",
    "_state_dict_hooks",
    "_load_state_dict_pre_hooks",
)


def model_state(model: nn.Module) -> dict[str, Any]:
    """A comparable picture of a model: equal pictures, equal models."""
    state: dict[str, Any] = {}
    for name, module in model.named_modules(remove_duplicate=False):
        state[f"{name} attributes"] = {
            key: _content(value) for key, value in vars(module).items() if key not in HOOKS
        }
        state[f"{name} children"] = {key: id(child) for key, child in module._modules.items()}
        state[f"{name} class"] = type(module)
        for hooks in HOOKS:
            held = vars(module)[hooks]
            state[f"{name} {hooks}"] = (id(held), [(key, id(hook)) for key, hook in held.items()])
    for name, tensor in (*model.named_parameters(), *model.named_buffers()):
        state[f"{name} content"] = _content(tensor)
        grad = tensor.grad if tensor.is_leaf else None
        state[f"{name} grad"] = None if grad is None else (id(grad), _content(grad))
        hooks_of_tensor = tensor._backward_hooks
        state[f"{name} hooks"] = None if not hooks_of_tensor else list(hooks_of_tensor)
    state["rng"] = torch.get_rng_state().tolist()
    return state


def _content(value: object) -> object:
    if isinstance(value, Tensor):
        flags = (id(value), value.requires_grad, value._version, value.dtype, value.is_leaf)
        return (*flags, value.stride(), value.detach().flatten().tolist())
    if isinstance(value, bool | int | float | str | tuple | None):
        return value
    return id(value), len(value) if hasattr(value, "__len__") else None
