"""A model as it was at another time of its training, for a while."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import torch
from torch import Tensor, nn


@contextmanager
def at_state(model: nn.Module, state: Mapping[str, Tensor]) -> Iterator[None]:
    """The model with the tensors of a state in the place of its own, which are back afterwards.

    The model's own tensors are not written to: graphs that hold them stay valid, and so do graphs
    that are recorded inside and used afterwards. Parameters that modules share stay shared.

    Args:
        model: the model.
        state: tensors by the names of the model's state dict; those of the same shapes.

    Raises:
        KeyError: the state lacks a tensor of the model.
    """
    own = [
        (module, name, f"{path}.{name}" if path else name, tensor)
        for path, module in model.named_modules()
        for held in (module._parameters, module._buffers)
        for name, tensor in held.items()
        if tensor is not None and name not in module._non_persistent_buffers_set
    ]
    others = {id(tensor): _in_the_place_of(tensor, state[key]) for *_, key, tensor in own}
    try:
        for module, name, _, tensor in own:
            setattr(module, name, others[id(tensor)])
        yield
    finally:
        for module, name, _, tensor in own:
            setattr(module, name, tensor)


def _in_the_place_of(tensor: Tensor, other: Tensor) -> Tensor:
    values = torch.empty_like(tensor, requires_grad=False)
    with torch.no_grad():
        values.copy_(other)
    if isinstance(tensor, nn.Parameter):
        return nn.Parameter(values, requires_grad=tensor.requires_grad)
    return values
