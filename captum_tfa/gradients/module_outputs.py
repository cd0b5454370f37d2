"""Activations at which a map can be taken exactly.

``tanh' = 1 − tanh²``: autograd keeps what such a function gave, to differentiate it. When the score
is differentiated at that activation, what was kept would count as if it changed with the
activation; but the question is what the score does when the activation changes *and nothing before
it does*. So where a module is watched, its watchers see a view: a tensor of its own in the graph,
after the function and what it kept.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from torch import Tensor, nn
from torch.autograd.function import BackwardCFunction


@contextmanager
def of_their_own(model: nn.Module) -> Iterator[None]:
    """While a pass runs, hooks on modules see activations that no derivative is made of."""
    handles = []
    for module in model.modules():
        if module._forward_hooks:
            handles.append(module.register_forward_hook(_views_of_output, prepend=True))
        if module._forward_pre_hooks:
            handles.append(module.register_forward_pre_hook(_views_of_input, prepend=True))
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def _views_of_output(module: nn.Module, arguments: Any, output: Any) -> Any:
    return _views(output)


def _views_of_input(module: nn.Module, arguments: Any) -> Any:
    return _views(arguments)


def _views(value: Any) -> Any:
    if isinstance(value, Tensor):
        return value.view_as(value) if _is_kept(value) else value
    if type(value) in (tuple, list):
        return type(value)(map(_views, value))
    if type(value) is dict:
        return {key: _views(item) for key, item in value.items()}
    return value


def _is_kept(tensor: Tensor) -> bool:
    """Whether the function that made a tensor may have kept it."""
    node = tensor.grad_fn
    if node is None or node.name() == "ReluBackward0":  # keeps it for its zeros only
        return False
    return (
        hasattr(node, "_saved_result")
        or hasattr(node, "_saved_output")
        or isinstance(node, BackwardCFunction)
        or "DifferentiableGraph" in node.name()
    )
