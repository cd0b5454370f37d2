"""A model at one state of its training, whose first layers' responses can be read and replaced.

So the first layer is computed once a state, and what it would have said with other weights goes
through the rest of the model.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from captum_tfa.gradients.as_found import as_found
from captum_tfa.gradients.hooks import hookless, in_the_place_of
from captum_tfa.gradients.locks import model_lock
from captum_tfa.gradients.modes import in_own_precision
from captum_tfa.gradients.problems import refuse_problems
from captum_tfa.trajectory.at_state import at_state


class Opened:
    """A twin of a model, that fires none of the user's hooks; made by `opened`."""

    def __init__(self, model: nn.Module, twin: nn.Module) -> None:
        self.model, self.twin = model, twin
        self.layers = dict(twin.named_modules())

    @contextmanager
    def at(self, state: Mapping[str, Tensor], requires_grad: bool = False) -> Iterator[None]:
        """The model with a state's tensors; whether its parameters carry a graph."""
        with at_state(self.model, state):
            for parameter in self.model.parameters():  # those of the state, not the user's
                parameter.requires_grad_(requires_grad)
            yield

    def call(self, arguments: tuple[Any, ...], instead: Mapping[str, Callable[..., Any]]) -> object:
        """What the model returns if these functions stand in the place of layers' ``forward``."""
        for name, function in instead.items():
            self.layers[name].__dict__["forward"] = function
        try:
            return self.twin(*arguments)
        finally:
            for name in instead:
                del self.layers[name].__dict__["forward"]


def reading(layer: Any, kept: list[tuple[Tensor, Tensor]]) -> Callable[[Tensor], Tensor]:
    """A ``forward`` for a first layer that keeps what enters it and what it responds.

    Where gradients are on, the response begins a graph of its own: what came before, and the
    layer's weight, are constants, its bias is not.
    """

    def forward(input: Tensor) -> Tensor:
        entering = input.detach().clone()
        weight = layer.weight.detach()
        if isinstance(layer, nn.Linear):
            response = nn.functional.linear(entering, weight, layer.bias)
        else:
            response = layer._conv_forward(entering, weight, layer.bias)
        if torch.is_grad_enabled() and not response.requires_grad:
            response.requires_grad_()
        kept.append((entering, response))
        return response.clone()  # what comes next may write to it

    return forward


@contextmanager
def opened(model: nn.Module, in_training: bool = False) -> Iterator[Opened]:
    """A model to look into; it is left as it was found, also after an exception.

    Args:
        model: the model.
        in_training: it is in training mode, and is looked at as it would be in evaluation mode.

    Raises:
        ValueError: a model in which the rows of a batch are not apart (see `validate`).
    """
    twin = hookless(model)
    if in_training:
        twin.eval()
    refuse_problems(twin)
    device = device_of(model)
    with (
        model_lock(model),
        as_found(twin),
        in_the_place_of(model),
        torch.no_grad(),
        in_own_precision(device.type),
    ):
        yield Opened(model, twin)


def device_of(model: nn.Module) -> torch.device:
    """Where a model's parameters lie."""
    for parameter in model.parameters():
        return parameter.device
    return torch.device("cpu")
