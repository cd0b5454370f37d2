"""Does every retraining begin where it should: at freshly initialised weights?

A metric by retraining means nothing if a "retrained" model has already seen what was taken out of
its training set. That happens unnoticed where a training function goes on with a model that it
keeps, or copies a trained one. So the weights are looked at when the first training pass begins,
by a hook on all modules that is gone afterwards, and told from one another by a hash:

- the same seed must begin at the same weights, another seed at others;
- no training may begin where an earlier one ended;
- a training that shall go on from a checkpoint must begin at that checkpoint.

Where no pass of a module is seen (a closed form, another library), the first training is done
twice instead, and both must agree.
"""

from __future__ import annotations

import hashlib
import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

import numpy
import torch
from torch import Tensor, nn
from torch.nn.modules.module import register_module_forward_pre_hook
from torch.utils.data import Dataset

Train = Callable[[Dataset[Any], int], nn.Module]
"""``train(dataset, seed)`` makes a model anew, trains it on the data set, and gives it back in
evaluation mode. Torch's, NumPy's and Python's random numbers are seeded with ``seed`` before."""

Weights = tuple[str, ...]  # one hash for each parameter that does not have one value only


class _Seen(BaseException):
    """Ends a training whose beginning was all that was asked for; no ``except Exception`` may."""


def weights_of(model: nn.Module) -> Weights:
    """Hashes of a model's parameters, in order, without those of one value only (ones, zeros)."""
    return tuple(
        _hash(parameter)
        for parameter in model.parameters()
        if not isinstance(parameter, nn.parameter.UninitializedParameter)
        and parameter.numel()
        and bool((parameter != parameter.flatten()[0]).any())
    )


def _hash(tensor: Tensor) -> str:
    plain = tensor.detach().cpu().contiguous()
    return hashlib.sha256(plain.view(-1).view(torch.uint8).numpy().tobytes()).hexdigest()[:16]


class Beginnings:
    """Runs a training function and refuses beginnings that are not what they should be.

    Args:
        train: The user's.
        start: None if every training must begin afresh; a checkpoint if every one must begin there.
    """

    def __init__(self, train: Train, start: nn.Module | None = None) -> None:
        self._train = train
        self._start = None if start is None else weights_of(start)
        self._ends: set[Weights] = set()

    def check(
        self, dataset: Dataset[Any], seed: int, measure: Callable[[nn.Module], Tensor]
    ) -> Weights | None:
        """Looks at where trainings begin, before any is done.

        Args:
            dataset: Any of the training sets.
            seed: Any of the seeds.
            measure: What is measured of a trained model.

        Returns:
            The weights that this seed begins with; None if no module's pass was seen.

        Raises:
            ValueError: The function does not begin as it should.
        """
        first, model = self._look(dataset, seed)
        if first is None and self._start is not None:
            raise ValueError(
                "no training pass of a module was seen, so it cannot be told whether the training "
                "goes on from the checkpoint; call the model itself, in training mode, as in "
                "model.train(); model(images)"
            )
        if first is None:
            one, two = measure(self._checked(model)), measure(self._trained(dataset, seed)[0])
            if not torch.allclose(one, two, rtol=1e-4, atol=1e-6):
                raise ValueError(
                    "two trainings on the same data with the same seed gave models that differ by "
                    f"up to {float((one - two).abs().max()):.3g}; either the function goes on with "
                    "a model that it keeps, or it draws random numbers of its own: build the model "
                    "inside it, and seed everything with its second argument"
                )
            return None
        again, _ = self._look(dataset, seed)
        if again != first:
            raise ValueError(
                f"two trainings with seed {seed} begin at different weights; seed what makes the "
                "model with the function's second argument"
            )
        if self._start is None and first and self._look(dataset, seed + 1)[0] == first:
            raise ValueError(
                f"trainings with seeds {seed} and {seed + 1} begin at the same weights: either the "
                "function goes on with a model that it did not make, or its own seed hides the "
                "one it is given. Build the model inside it, freshly initialised from that seed"
            )
        self._compare_with_start(first)
        return first

    def run(self, dataset: Dataset[Any], seed: int) -> tuple[nn.Module, Weights | None]:
        """A trained model, and the weights that its training began with (None if not seen).

        Raises:
            TypeError: The function gives back something that is no module.
            ValueError: The training began elsewhere than it should, or the model is in training
                mode.
        """
        model, began = self._trained(dataset, seed)
        self._compare_with_start(began)
        if self._start is None and began in self._ends:
            raise ValueError(
                "a training begins at the weights that an earlier one ended with: the function "
                "keeps its model. Build the model inside it, so that it begins freshly initialised"
            )
        ended = weights_of(model)
        if ended and ended != began:
            self._ends.add(ended)
        return model, began

    def _compare_with_start(self, began: Weights | None) -> None:
        if self._start is None or began is None:
            return
        # A training that calls a part of the model first shows the weights of that part.
        if not set(began) <= set(self._start) or bool(began) != bool(self._start):
            raise ValueError(
                "a training that shall go on from the given checkpoint begins at other weights; "
                "load the checkpoint's state into the model inside the training function"
            )

    def _look(self, dataset: Dataset[Any], seed: int) -> tuple[Weights | None, object]:
        """Where a training begins, which is then ended; or the model if nothing was seen."""
        model: object = None
        with _seeded(seed), _watched(stop=True) as seen, suppress(_Seen):
            model = self._train(dataset, seed)
        return (seen[0] if seen else None), model

    def _trained(self, dataset: Dataset[Any], seed: int) -> tuple[nn.Module, Weights | None]:
        with _seeded(seed), _watched(stop=False) as seen:
            model = self._train(dataset, seed)
        return self._checked(model), seen[0] if seen else None

    def _checked(self, model: object) -> nn.Module:
        if not isinstance(model, nn.Module):
            raise TypeError(
                f"the training function gave back a {type(model).__name__}; it must give back the "
                "trained torch.nn.Module"
            )
        if model.training:
            raise ValueError(
                "the training function gave back a model in training mode, whose answers depend "
                "on the batch; call model.eval() at its end"
            )
        return model


@contextmanager
def _watched(stop: bool) -> Iterator[list[Weights]]:
    """Gets the weights at the first training pass of a module that has some to learn."""
    seen: list[Weights] = []

    def look(module: nn.Module, _: Any) -> None:
        if seen or not module.training or not torch.is_grad_enabled():
            return
        if any(parameter.requires_grad for parameter in module.parameters()):
            seen.append(weights_of(module))
            if stop:
                raise _Seen

    hook = register_module_forward_pre_hook(look)
    try:
        yield seen
    finally:
        hook.remove()


@contextmanager
def _seeded(seed: int) -> Iterator[None]:
    """Seeds Python's, NumPy's and torch's random numbers; all go on as before afterwards."""
    python, numpys = random.getstate(), numpy.random.get_state()
    with torch.random.fork_rng():
        random.seed(seed)
        numpy.random.seed(seed % 2**32)
        torch.manual_seed(seed)
        try:
            yield
        finally:
            random.setstate(python)
            numpy.random.set_state(numpys)
