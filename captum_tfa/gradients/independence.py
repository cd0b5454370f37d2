"""Does the loss of an example depend on that example alone?

Only then it has a parameter gradient of its own. Batch normalisation that is training, dropout that
nobody switched off, losses that are broadcast over the batch, whatever they are called and wherever
they hide: each shows when the same example is run twice in a batch, and once more in another one.
That is done where there is reason to: a module in training mode, random numbers that were drawn,
examples that share positions.
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

Losses = Callable[[Sequence[Tensor], Tensor | None], Tensor]
"""From inputs and labels to the loss of each example, ``[B]``."""

# Where random numbers were drawn in evaluation mode, so many passes of so many copies say, if all
# losses are equal, that they had no effect.
_RANDOM_PASSES, _COPIES = 8, 32

_REMEDY = (
    "Call model.eval(), and look for batch normalisation, dropout and drop path in training mode "
    "(in functions and scripted modules too), and for a loss that is broadcast over the batch "
    "(outputs [B, 1] and labels [B])."
)


def check_independence(
    losses: Losses, inputs: Sequence[Tensor], target: Tensor | None, training: bool
) -> None:
    """Raise if the first example's loss is not its own.

    Args:
        losses: runs the model without a graph.
        inputs: the model's inputs, each ``[B, ...]``.
        target: labels ``[B, ...]`` or ``None``.
        training: whether a module of the model is in training mode.

    Raises:
        RuntimeError: it depends on the other examples of its batch, or on chance.
    """
    before = RandomState(inputs[0].device)
    try:
        found = _in_several_batches(losses, inputs, target, before)
    except (RuntimeError, ValueError, IndexError, AssertionError):
        if len(inputs[0]) > 1:
            raise
        # Some models take one example at a time, which then cannot depend on others.
        found = [torch.cat([losses(inputs, target) for _ in range(_COPIES)])]
    finally:
        drawn = before.changed()
        before.put_back()
    for of_one in found:
        _compare(of_one)
    if drawn and training:
        raise RuntimeError(
            "The model draws random numbers, and some of its modules are in training mode, so its "
            f"output is random. {_REMEDY}"
        )


def _in_several_batches(
    losses: Losses, inputs: Sequence[Tensor], target: Tensor | None, before: RandomState
) -> list[Tensor]:
    """For the first and the last example, what should all be the same loss."""
    count = len(inputs[0])

    def of(rows: list[int], others: Sequence[Tensor] = ()) -> Tensor:
        batch = [tensor.detach()[rows] for tensor in inputs]
        for tensor, other in zip(batch, others, strict=False):
            tensor[-1] = other
        return losses(batch, None if target is None else target[rows])

    first = of([0, 0])
    if len(first) != 2:
        return []  # rows of the output are no examples, which is told elsewhere
    if count == 1:  # the other one is stretched
        others = [
            3 * tensor[0] + 1 if tensor.is_floating_point() else tensor[0] for tensor in inputs
        ]
        found = [torch.cat([first, of([0, 0], others)[:1]])]
    else:
        last, rows = of([-1, -1]), [*range(min(count, _COPIES) - 1), count - 1]
        together = of(rows)
        found = [torch.cat([first, together[:1]]), torch.cat([last, together[-1:]])]
    if before.changed():
        found.append(torch.cat([of([0] * _COPIES) for _ in range(_RANDOM_PASSES)]))
    return found


def _compare(losses: Tensor) -> None:
    """Raise if losses of one example, ``[N]``, differ by more than rounding."""
    first, losses = losses[0], losses.detach().double()
    tolerance = math.sqrt(torch.finfo(first.dtype).eps) * (1 + losses[0].abs())
    differing = (losses - losses[0]).abs() > tolerance  # False where they are not numbers
    if bool(differing.any()):
        raise RuntimeError(
            f"The loss of this example is {float(first):.6g}, and it differs by "
            f"{float((losses - losses[0]).abs()[differing][0]):.1e} when the same example stands "
            "in another batch or is run again. The examples of a batch depend on each other in "
            "this model, or its output is random, so an example has no parameter gradient of its "
            f"own. {_REMEDY}"
        )


class RandomState:
    """The state of the random number generators of torch, numpy and Python.

    Args:
        device: the device on which the model runs.
    """

    def __init__(self, device: torch.device) -> None:
        self._cuda = [device] if device.type == "cuda" else []
        self._states = self._now()

    def changed(self) -> bool:
        """Whether random numbers have been drawn since."""
        return not all(map(_equal, self._states, self._now()))

    def put_back(self) -> None:
        """Make the generators go on as if none had been drawn."""
        of_torch, of_python, of_numpy, *of_cuda = self._states
        torch.set_rng_state(of_torch)
        random.setstate(of_python)
        np.random.set_state(of_numpy)
        for state, device in zip(of_cuda, self._cuda, strict=True):
            torch.cuda.set_rng_state(state, device)

    def _now(self) -> list[Any]:
        of_cuda = [torch.cuda.get_rng_state(device) for device in self._cuda]
        return [torch.get_rng_state(), random.getstate(), np.random.get_state(), *of_cuda]


def _equal(one: Any, other: Any) -> bool:
    if isinstance(one, Tensor):
        return bool(torch.equal(one, other))
    if isinstance(one, np.ndarray):
        return bool(np.array_equal(one, other))
    if isinstance(one, tuple) and any(isinstance(part, np.ndarray) for part in one):
        return all(map(_equal, one, other))
    return bool(one == other)
