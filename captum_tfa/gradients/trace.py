"""What a forward pass did, as far as it decides where examples lie.

Finding out how a model lays out its examples costs a backward pass, so the answer is remembered.
It holds for passes with the same trace: the same functions, called with the same arguments. A
tensor stands in it for where it came from: the model's inputs by their place and shape, results by
the call that made them, everything else by what it is and how often it was written to. What the
trace cannot stand for is not remembered: rows that are moved as the content of an image says,
chance, arguments that are neither tensors nor plain values, and functions that torch does not show.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from itertools import count
from types import EllipsisType
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.utils.weak import WeakIdKeyDictionary

from captum_tfa.gradients.placement import (
    BLANK,
    BY_SHAPE,
    CHANCE,
    HIDDEN,
    QUERIES,
    keeps_kind,
    of_first,
)
from captum_tfa.gradients.registry import RECORDED

_MARK = "_captum_tfa_origin"

_PLAIN = (
    *(type(None), bool, int, float, complex, str, EllipsisType, np.generic),
    *(torch.dtype, torch.device, torch.memory_format, torch.layout),
)

# Tensors that a pass did not make, by numbers that are never used again: an `id` may be.
_numbers: WeakIdKeyDictionary = WeakIdKeyDictionary()
_next_number = count()


class Origin(NamedTuple):
    """Where a tensor of the running pass came from.

    Attributes:
        token: stands for the pass.
        place: the place in the trace at which it was made or last written to.
        of_images: whether it was computed from the model's inputs or the labels.
        version: how often it had been written to by then.
    """

    token: object
    place: int
    of_images: bool
    version: int


class Call:
    """A function call that is being followed.

    Args:
        func: the function.

    Attributes:
        tensors: the tensors that it was given, and what was known of each.
    """

    def __init__(self, func: Callable[..., Any]) -> None:
        self.func = func
        self.tensors: list[tuple[Tensor, Origin]] = []

    @property
    def of_images(self) -> bool:
        """Whether a tensor among them was computed from the model's inputs or the labels."""
        return self.func not in BLANK and any(origin.of_images for _, origin in self.tensors)

    def changes_kind(self, made: Tensor) -> bool:
        """Whether a result is a number of another kind than all that came in of images."""
        given = [tensor for tensor, origin in self.tensors if origin.of_images]
        return bool(given) and not any(keeps_kind(self.func, tensor, made) for tensor in given)


class Trace:
    """The trace of one forward pass.

    Args:
        inputs: the model's inputs and the labels, whose rows are the examples.

    Attributes:
        outside: tensors that calls were given and that neither are inputs nor were seen to be
            made in this pass, by their `id`.
    """

    def __init__(self, inputs: Sequence[Tensor]) -> None:
        self.outside: dict[int, Tensor] = {}
        self._calls: list[Hashable] | None = [tuple(tensor.shape for tensor in inputs)]
        self._token = object()
        self._places = count()
        # Tensors of others that cannot be marked themselves: the inputs, and what is written to.
        self._noted: dict[int, tuple[Tensor, Origin]] = {}
        for tensor in inputs:
            self._note(tensor, of_images=True)

    @property
    def key(self) -> Hashable:
        """Stands for what the pass did; ``None`` if there is no trace of it."""
        return None if self._calls is None else tuple(self._calls)

    def lose(self) -> None:
        """There is no trace of this pass."""
        self._calls = None

    def begin(self, func: Callable[..., Any], args: Any, kwargs: dict[str, Any]) -> Call:
        """Take a call into the trace, before it is made."""
        call = Call(func)
        if func in QUERIES:
            return call
        described = (func, self._described(args, call), self._described(kwargs, call))
        if func in CHANCE or func in HIDDEN:
            self.lose()
        if self._calls is not None:
            self._calls.append(described)
        return call

    def end(self, call: Call, args: Any, kwargs: dict[str, Any], result: Any) -> None:
        """Note what a call made and what it wrote to."""
        written = [tensor for tensor, origin in call.tensors if tensor._version != origin.version]
        given = {id(tensor) for tensor, _ in call.tensors}
        made = [tensor for tensor in _tensors(result) if id(tensor) not in given]
        # A plain number that is read off an image is seen where it is used.
        if self._calls is not None and call.of_images and (made or written):
            # What has a rule keeps the rows of its first argument where they are.
            by_shape = BY_SHAPE.get(call.func, of_first if call.func in RECORDED else None)
            if (
                by_shape is None
                or not by_shape(args, kwargs, self.is_of_images)
                or any(map(call.changes_kind, made))
            ):
                self.lose()
        for tensor in written:
            self._write(tensor, call.of_images)
        for tensor in made:
            setattr(tensor, _MARK, self._origin(tensor, call.of_images))

    def _write(self, tensor: Tensor, of_images: bool) -> None:
        whole = [tensor] if tensor._base is None else [tensor, tensor._base]
        for part in whole:
            known = self._known(part)
            of_images = of_images or (known is not None and known.of_images)
            self._note(part, of_images)

    def _note(self, tensor: Tensor, of_images: bool) -> None:
        self._noted[id(tensor)] = tensor, self._origin(tensor, of_images)

    def _origin(self, tensor: Tensor, of_images: bool) -> Origin:
        return Origin(self._token, next(self._places), of_images, tensor._version)

    def _known(self, tensor: Tensor) -> Origin | None:
        """The origin of an input, of a tensor of this pass, or of one that it has written to."""
        if id(tensor) in self._noted:
            return self._noted[id(tensor)][1]
        origin: Origin | None = getattr(tensor, _MARK, None)
        return origin if origin is not None and origin.token is self._token else None

    def is_of_images(self, tensor: Tensor) -> bool:
        """Whether a tensor was computed from the model's inputs or the labels."""
        known = self._known(tensor)
        return known is not None and known.of_images

    def may_be_of_images(self, tensor: Tensor) -> bool:
        """Whether a tensor was computed from images, or in a way that was not seen."""
        known = self._known(tensor)
        return known is None or known.of_images

    def _described(self, value: Any, call: Call) -> Hashable:
        """What an argument is, as far as the trace must tell; its tensors go into the call."""
        if isinstance(value, Tensor):
            return self._place(value, call)
        if isinstance(value, _PLAIN):
            return type(value), value
        if isinstance(value, tuple | list):
            return type(value), *(self._described(item, call) for item in value)
        if isinstance(value, dict):
            return tuple((key, self._described(item, call)) for key, item in value.items())
        if isinstance(value, slice):
            parts = (value.start, value.stop, value.step)
            return slice, *(self._described(part, call) for part in parts)
        if isinstance(value, range):
            return value
        self.lose()
        return None

    def _place(self, tensor: Tensor, call: Call) -> Hashable:
        known = self._known(tensor)
        version = tensor._version
        if known is not None:
            call.tensors.append((tensor, known._replace(version=version)))
            if known.version != version:
                self.lose()  # written to by a function that torch does not show
            return known.place
        # What has a graph and was not seen to be made may have been made of images.
        call.tensors.append((tensor, Origin(self._token, -1, tensor.grad_fn is not None, version)))
        self.outside[id(tensor)] = tensor
        if tensor not in _numbers:
            _numbers[tensor] = next(_next_number)
        return "outside", _numbers[tensor], version, tensor.shape


def _tensors(result: Any) -> list[Tensor]:
    if isinstance(result, Tensor):
        return [result]
    if isinstance(result, tuple | list):
        return [tensor for item in result for tensor in _tensors(item)]
    if isinstance(result, dict):
        return [tensor for item in result.values() for tensor in _tensors(item)]
    return []
