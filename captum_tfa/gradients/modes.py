"""The autograd modes in which gradients of gradients exist."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import ParamSpec, TypeVar

import torch

P = ParamSpec("P")
R = TypeVar("R")


@contextmanager
def differentiating(device: torch.device) -> Iterator[None]:
    """Gradients on, whatever the caller's mode, and the numbers in the model's own precision.

    Autocast is off inside: in half precision a map is mostly rounding error.
    """
    with torch.enable_grad(), in_own_precision(device.type):
        yield


def in_own_precision(device_type: str) -> AbstractContextManager[object]:
    """Autocast off, on devices that have it."""
    if torch.amp.is_autocast_available(device_type):
        return torch.autocast(device_type, enabled=False)
    return contextlib.nullcontext()


@contextmanager
def no_saved_tensors_hooks() -> Iterator[None]:
    """A forward pass that saves its activations as they are.

    Checkpointing computes a part of the model again in the backward pass, where uses of
    parameters are not recorded: refused.
    """
    with torch.autograd.graph.disable_saved_tensors_hooks(
        "The model uses activation checkpointing or other hooks on saved tensors, with which "
        "gradients of gradients cannot be recorded. Switch it off (use_checkpoint=False, "
        "memory_efficient=False); `internal_batch_size` bounds the memory."
    ):
        yield


def unseen() -> AbstractContextManager[object]:
    """Calls that only look at tensors, and leave no trace in the record of a pass."""
    context: AbstractContextManager[object] = torch._C.DisableTorchFunction()
    return context


def without_autocast(backward: Callable[P, R]) -> Callable[P, R]:
    """A backward pass in full precision, also inside the caller's autocast region."""

    @functools.wraps(backward)
    def wrapped(*args: P.args, **kwargs: P.kwargs) -> R:
        devices = {argument.device.type for argument in args if isinstance(argument, torch.Tensor)}
        with contextlib.ExitStack() as stack:
            for device in devices:
                stack.enter_context(in_own_precision(device))
            return backward(*args, **kwargs)

    return wrapped


def outside_inference_mode(function: Callable[P, R]) -> Callable[P, R]:
    """The function, also for callers in ``torch.inference_mode``: they get it without a graph."""

    @functools.wraps(function)
    def wrapped(*args: P.args, **kwargs: P.kwargs) -> R:
        if not torch.is_inference_mode_enabled():
            return function(*args, **kwargs)
        with torch.inference_mode(False), torch.no_grad():
            return function(*args, **kwargs)

    return wrapped
