"""A pass through a model that leaves the model's tensors as they were found.

A forward pass may set attributes: weights that hooks compute, tensors kept for the next pass,
outputs kept for others. Where tensors are among what it set, it is put back, so that no graph of
ours stays in the user's model, and no tensor of one pass is taken for the parameter in the next.
A counter goes on counting.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from captum_tfa.gradients.holdings import containers, holds_tensor

_MISSING = object()


@contextmanager
def as_found(model: nn.Module, counters: bool = False) -> Iterator[None]:
    """Put back, afterwards, the tensors of modules' attributes, also after an exception.

    Those in lists, dicts, sets and plain objects count, and so does what is written into buffers.
    Inside, nothing is compiled, and no parametrised weight is kept from an earlier pass: a graph
    that was recorded elsewhere cannot be continued.

    Args:
        model: the model.
        counters: put back everything else that changed too: it was no pass that anyone asked for.
    """
    attributes = [(module, dict(module.__dict__)) for module in model.modules()]
    held = {
        id(one): (one, dict(one) if isinstance(one, dict) else list(one))
        for module, _ in attributes
        for _, one in containers(module)
    }
    buffers = [(buffer, buffer.detach().clone()) for buffer in _buffers(model)]
    try:
        for module, before in attributes:
            if "_compiled_call_impl" in before:
                del module.__dict__["_compiled_call_impl"]
        with _uncompiled(), _no_kept_parametrisations():
            yield
    finally:
        for module, before in attributes:
            _put_back(module.__dict__, before, counters)
            if "_compiled_call_impl" in before:
                module.__dict__["_compiled_call_impl"] = before["_compiled_call_impl"]
        for one, content in held.values():
            _refill(one, content, counters)
        with torch.no_grad():
            for buffer, values in buffers:
                if not torch.equal(buffer, values):
                    buffer.copy_(values)


def _put_back(held: dict[str, Any], before: dict[str, Any], all_of_it: bool) -> None:
    """Put back the entries of a dict that changed, if they hold tensors or held some."""
    for name in [name for name in held if name not in before]:
        if all_of_it or holds_tensor(held[name]):
            del held[name]
    for name, value in before.items():
        now = held.get(name, _MISSING)
        if now is not value and (all_of_it or holds_tensor(value) or holds_tensor(now)):
            held[name] = value


def _refill(held: Any, content: Any, all_of_it: bool) -> None:
    """Put back what a container held, if it changed and tensors are among that."""
    if isinstance(held, dict):
        return _put_back(held, content, all_of_it)
    now, before = [id(item) for item in held], [id(item) for item in content]
    if now == before:
        return
    common = set(now) & set(before)
    changed = [item for item in (*held, *content) if id(item) not in common]
    if all_of_it or any(map(holds_tensor, changed or content)):
        held.clear()
        (held.update if isinstance(held, set) else held.extend)(content)


def _buffers(model: nn.Module) -> Iterator[Tensor]:
    for buffer in model.buffers():
        if not buffer.is_inference() and buffer.layout == torch.strided:
            yield buffer


def _uncompiled() -> Any:
    """Functions that the model's author compiled run as they were written."""
    if "torch._dynamo" not in sys.modules:  # then nothing has been compiled
        return nullcontext()
    return torch.compiler.set_stance("force_eager")


@contextmanager
def _no_kept_parametrisations() -> Iterator[None]:
    enabled = parametrize._cache_enabled
    parametrize._cache_enabled = 0
    try:
        yield
    finally:
        parametrize._cache_enabled = enabled
