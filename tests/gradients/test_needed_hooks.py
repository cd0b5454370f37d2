"""Which hooks a model needs is seen from what they do, however they are written."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import pytest
import torch
from captum.attr import LayerActivation
from torch import Tensor, nn
from torch.nn.utils import prune, spectral_norm

from captum_tfa.gradients.needed_hooks import is_needed

seen: list[Any] = []
by_name: dict[str, Any] = {}


def _doubles_weight(module: nn.Module, given: Any) -> None:
    module.weight = module.weight_orig * 2


def _sets_by_name(module: nn.Module, given: Any) -> None:
    setattr(module, "weight", module.weight_orig * 2)  # noqa: B010


def _writes_data(module: nn.Module, given: Any) -> None:
    module.weight.data = module.weight_orig.data * 2


def _copies(module: nn.Module, given: Any) -> None:
    with torch.no_grad():
        module.weight.copy_(module.weight_orig * 2)


def _records(module: nn.Module, given: Any, output: Any = None) -> None:
    seen.append(output)


def _records_by_name(name: str, module: nn.Module, given: Any, output: Any = None) -> None:
    by_name[name] = output


def _replaces(module: nn.Module, given: Any, output: Any) -> Any:
    return output * 2


class EqualRate:
    """Computes a weight, as the equalised learning rate of StyleGAN does."""

    def __call__(self, module: nn.Module, given: Any) -> None:
        setattr(module, "weight", module.weight_orig * 0.5)  # noqa: B010


class Recorder:
    def __init__(self) -> None:
        self.output: Any = None

    def __call__(self, module: nn.Module, given: Any, output: Any) -> None:
        self.output = output

    def named(self, name: str, module: nn.Module, given: Any, output: Any) -> None:
        self.output = name, output


class Collects(nn.Linear):
    """Needs a hook of its own: it reads what the hook has kept."""

    def __init__(self) -> None:
        super().__init__(2, 2)
        self.recorder = Recorder()
        self.features: list[Tensor] = []

    def keep(self, module: nn.Module, given: Any, output: Tensor) -> None:
        self.features.append(output)


MODEL = nn.Sequential(nn.Linear(2, 2), Collects())

NEEDED: dict[str, Callable[..., Any]] = {
    "sets the weight": _doubles_weight,
    "sets by name": _sets_by_name,
    "writes to data": _writes_data,
    "copies into the weight": _copies,
    "callable object": EqualRate(),
    "bound method of an object": EqualRate().__call__,
    "bound to a module of the model": MODEL[1].keep,
    "an object that a module holds": MODEL[1].recorder,
    "method of such an object": functools.partial(MODEL[1].recorder.named, "features"),
    "partial": functools.partial(_doubles_weight),
    "lambda": lambda module, given: setattr(module, "weight", module.weight_orig),
}

OF_WATCHERS: dict[str, Callable[..., Any]] = {
    "records": _records,
    "records under a name": functools.partial(_records_by_name, "layer"),
    "callable recorder": Recorder(),
    "method of a recorder": functools.partial(Recorder().named, "layer"),
    "lambda": lambda module, given, output: seen.append(output),
    "replaces the output": _replaces,
    "function written in C": print,
}


@pytest.mark.parametrize("name", NEEDED)
def test_hooks_that_the_model_needs(name: str) -> None:
    assert is_needed(NEEDED[name], MODEL)


@pytest.mark.parametrize("name", OF_WATCHERS)
def test_hooks_of_watchers(name: str) -> None:
    assert not is_needed(OF_WATCHERS[name], MODEL)


def test_hooks_of_torch_are_needed_and_captums_are_not() -> None:
    layer = spectral_norm(nn.Linear(2, 2))
    prune.l1_unstructured(layer, "bias", 1)
    assert all(is_needed(hook, layer) for hook in layer._forward_pre_hooks.values())
    of_captum: list[bool] = []

    class Looks(nn.Linear):
        def forward(self, input: Tensor) -> Tensor:
            of_captum.extend(is_needed(hook, self) for hook in self._forward_hooks.values())
            return super().forward(input)

    model = Looks(2, 2)
    LayerActivation(model, model).attribute(torch.ones(1, 2))
    assert of_captum == [False]
