"""What a forward pass did, as far as it decides where examples lie.

Finding out how a model lays out its examples costs a backward pass, so the answer is remembered.
It holds for passes with the same trace: the same functions, called with the same settings, on
tensors that come from the images. Where rows are moved about as the content of a tensor says, or
where a parameter meets something that does not come from the images, there is no trace, and the
layout is found anew.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import Any

import torch
from torch import Tensor

# Functions that move rows about as the content of a tensor says.
_INDEXES = {Tensor.__getitem__, Tensor.__setitem__}
_MOVES_ROWS = {
    getattr(home, name)
    for name in (
        "argsort",
        "gather",
        "index_add",
        "index_add_",
        "index_copy",
        "index_copy_",
        "index_put",
        "index_put_",
        "index_select",
        "masked_scatter",
        "masked_scatter_",
        "masked_select",
        "nonzero",
        "scatter",
        "scatter_",
        "scatter_add",
        "scatter_add_",
        "sort",
        "take",
        "take_along_dim",
        "topk",
        "unique",
        "where",
    )
    for home in (torch, Tensor)
    if hasattr(home, name)
}

_MARK = "_captum_tfa_of_images"


class Trace:
    """The trace of one forward pass.

    Args:
        inputs: the model's inputs, whose rows are the examples.

    Attributes:
        key: stands for what the pass did; ``None`` if there is no trace.
    """

    def __init__(self, inputs: Collection[Tensor]) -> None:
        self.key: int | None = 0
        self._inputs = {id(tensor) for tensor in inputs}

    def follow(self, func: Callable[..., Any], arguments: tuple[Any, ...]) -> None:
        """Take a call into the trace: its function, and the arguments that are no tensors."""
        if self.key is None:
            return
        if func in _MOVES_ROWS or (func in _INDEXES and _has_tensor(arguments[1])):
            self.lose()
            return
        plain = [part for part in arguments if isinstance(part, int | str | tuple | list)]
        self.key = hash((self.key, func, "" if _has_tensor(plain) else repr(plain)))

    def lose(self) -> None:
        """There is no trace of this pass."""
        self.key = None

    def of_images(self, argument: Any) -> bool:
        """Whether a tensor was computed from the model's inputs, as far as can be seen."""
        if isinstance(argument, list | tuple):
            return any(map(self.of_images, argument))
        if not isinstance(argument, Tensor):
            return False
        return id(argument) in self._inputs or _MARK in argument.__dict__

    def mark(self, result: Any) -> None:
        """Note that a function's result was computed from the model's inputs."""
        if isinstance(result, list | tuple):
            for part in result:
                self.mark(part)
        elif isinstance(result, Tensor):
            setattr(result, _MARK, True)


def _has_tensor(argument: Any) -> bool:
    if isinstance(argument, list | tuple):
        return any(map(_has_tensor, argument))
    return isinstance(argument, Tensor)
