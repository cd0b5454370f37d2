"""The autograd modes in which gradients of gradients exist."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import ParamSpec, TypeVar

import torch

P = ParamSpec("P")
R = TypeVar("R")


@contextmanager
def differentiating(device: torch.device) -> Iterator[None]:
    """Gradients on, whatever the caller's mode, and the numbers in the model's own precision.

    Autocast is off inside: in half precision a map is mostly rounding error.
    """
    with torch.enable_grad(), torch.autocast(device.type, enabled=False):
        yield


def outside_inference_mode(function: Callable[P, R]) -> Callable[P, R]:
    """The function, also for callers in ``torch.inference_mode``: they get it without a graph."""

    @functools.wraps(function)
    def wrapped(*args: P.args, **kwargs: P.kwargs) -> R:
        if not torch.is_inference_mode_enabled():
            return function(*args, **kwargs)
        with torch.inference_mode(False), torch.no_grad():
            return function(*args, **kwargs)

    return wrapped
