"""Do the maps depend on what the model has learned?

A map that stays as it is when the learned weights or the labels are replaced by random ones tells
about the picture, not about the model. Two tests of [adebayo2018sanity], for maps of training
images:

- **parameters:** replace the weights of one layer after the other, from the output down to the
  input (cascading), or of one layer alone (independent), and compare the maps with the trained
  model's: `parameter_randomisation`.
- **labels:** train a second model on labels in a random order, `PermutedLabels`, and compare the
  maps of the two with `compare_maps`.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.data import Dataset

from captum_tfa.metrics.similarity import MapSimilarity, compare_maps

# With the seed that a model was made with, the random weights could be the very ones from which
# its training began, which the trained ones still resemble. So seeds begin where nobody's do.
_FAR = 1_810_032_921


def parameter_randomisation(
    model: nn.Module,
    maps: Callable[[nn.Module], Tensor],
    cascading: bool = True,
    layers: Sequence[str] | None = None,
    seed: int = 0,
) -> Iterator[tuple[str, MapSimilarity]]:
    """How alike maps are to the trained model's when layers lose what they learned.

    A layer's parameters and buffers start anew by its own ``reset_parameters()``. A parameter
    that this leaves as it was, or whose module has no such method, is drawn from the normal
    distribution with the mean and the deviation of its trained values. Each layer gets the same
    random weights in both modes, and on every device.

    Args:
        model: The trained model. Copies of it are changed, never the model itself.
        maps: Gives the maps ``[B, C, H, W]`` of the same pairs for any model. Noise must be the
            same at each call (seed it inside), or it alone makes the maps differ. A layer for a
            layer map must be looked up in the model that it is given.
        cascading: Layers stay random once they are: the last row is a model that has learned
            nothing. Otherwise each layer is random alone.
        layers: Names of submodules in the order in which they lose their weights; each stands
            for all that is in it. ``None``: every module that owns parameters, without what is
            in it, the last in ``model.named_modules()`` first: for most models from output to
            input. The name of the model itself is "".
        seed: Of the random weights. PyTorch's global random state is left as it was.

    Yields:
        ``(layer's name, similarity of the maps to the trained model's)``, one layer after the
        other. A few copies of the model are in memory at a time.

    Raises:
        ValueError: No layer with parameters, or a name that is not the model's; see also
            `compare_maps`.
    """
    parts = _parts(model, layers)
    random = _randomised(model, parts, seed)
    current = copy.deepcopy(model)
    reference = maps(current)
    for name, modules in parts.items():
        current = copy.deepcopy(current if cascading else model)
        with torch.no_grad():
            for module in modules:
                for own, other in zip(
                    _state(current.get_submodule(module)),
                    _state(random.get_submodule(module)),
                    strict=True,
                ):
                    own.copy_(other)
        yield name, compare_maps(maps(current), reference)


class PermutedLabels(Dataset[tuple[Any, Any]]):
    """A data set whose labels have changed places at random: nothing is left to learn but noise.

    As many examples carry each label as before. A model trained on it must memorise; how well
    it fits belongs beside every comparison with a model of the true labels.

    Args:
        dataset: Map-style, yields ``(input, label)``. It is read through once for its labels.
        seed: Of the order. PyTorch's global random state is left as it was.

    Raises:
        ValueError: An empty data set.
    """

    def __init__(self, dataset: Dataset[tuple[Any, Any]], seed: int = 0) -> None:
        self._dataset = dataset
        labels = [dataset[index][1] for index in range(len(dataset))]  # type: ignore[arg-type]
        if not labels:
            raise ValueError("The data set is empty; give one with at least one example")
        order = torch.randperm(len(labels), generator=torch.Generator().manual_seed(seed))
        self._labels = [labels[index] for index in order.tolist()]

    def __len__(self) -> int:
        return len(self._labels)

    def __getitem__(self, index: int) -> tuple[Any, Any]:
        return self._dataset[index][0], self._labels[index]


def _parts(model: nn.Module, layers: Sequence[str] | None) -> dict[str, list[str]]:
    """The names of the modules that each layer stands for."""
    modules = dict(model.named_modules())
    if layers is None:
        owners = [name for name, module in modules.items() if any(True for _ in _own(module))]
        parts = {name: [name] for name in reversed(owners)}
    else:
        parts = {
            layer: [name for name in modules if f"{name}.".startswith(f"{layer}." if layer else "")]
            for layer in layers
        }
    wrong = [layer for layer, names in parts.items() if not names]
    if wrong or not parts:
        raise ValueError(
            f"layers is {layers}, of which the model has no {wrong}; name submodules as "
            "model.named_modules() does, at least one, or give a model that has parameters"
        )
    return parts


def _randomised(model: nn.Module, parts: dict[str, list[str]], seed: int) -> nn.Module:
    """A copy on the CPU whose layers have forgotten all."""
    random = copy.deepcopy(model).cpu()
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        torch.default_generator.manual_seed(_FAR + seed)
        for modules in parts.values():
            for module in modules:
                _forget(random.get_submodule(module))
    return random


def _forget(module: nn.Module) -> None:
    trained = [parameter.clone() for parameter in _own(module)]
    reset = getattr(module, "reset_parameters", None)
    if callable(reset):
        reset()
    for parameter, before in zip(_own(module), trained, strict=True):
        if torch.equal(parameter, before):
            deviation, mean = torch.std_mean(before, correction=0)
            parameter.copy_(mean + deviation * torch.randn(before.shape, dtype=before.dtype))


def _own(module: nn.Module) -> Iterator[nn.Parameter]:
    return module.parameters(recurse=False)


def _state(module: nn.Module) -> list[Tensor]:
    return [*_own(module), *module.buffers(recurse=False)]
