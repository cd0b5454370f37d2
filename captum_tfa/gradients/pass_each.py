"""Which parameters cost a backward pass for each example of a batch, and telling it once.

Where a function without a rule uses a parameter (a recurrent layer), or where all examples share
what was made of it (a table of position biases), autograd has to find each example's gradient by
itself. That is exact and slow, and nobody should have to find out by waiting.
"""

from __future__ import annotations

import sys
import warnings
from collections.abc import Sequence
from itertools import count
from weakref import WeakKeyDictionary

from torch import nn

_SHOWN = 6
_OURS = ("captum_tfa", "captum", "torch")

_told: WeakKeyDictionary[nn.Module, set[str]] = WeakKeyDictionary()


class PassForEachExampleWarning(UserWarning):
    """Some parameters cost a backward pass for each example of a batch."""


def tell_once(model: nn.Module, names: Sequence[str]) -> None:
    """Warn of parameters that cost a pass for each example, unless it was said of this model.

    Args:
        model: the model.
        names: their names; none, no warning.
    """
    told = _told.setdefault(model, set())
    if told.issuperset(names):
        return
    told.update(names)
    shown = ", ".join(f"'{name}'" for name in names[:_SHOWN])
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    warnings.warn(
        f"These parameters of the model cost a backward pass for each example of a batch: {shown}"
        f"{more}. A function without a rule uses them, or all examples share what is made of them. "
        "Results are exact, but slow. Leave them out of the score, for example with "
        f"`parameters=lambda name: not name.startswith({_common(names)!r})`, or write a rule for "
        "the layer (`captum_tfa.gradients.records`). `validate(model, inputs)` lists them all.",
        PassForEachExampleWarning,
        stacklevel=_outside(),
    )


def _common(names: Sequence[str]) -> str:
    """The module that the first of them belongs to, or its name."""
    return names[0].rpartition(".")[0] or names[0]


def _outside() -> int:
    """How far up the stack the code begins that called this package."""
    for level in count(2):
        frame = sys._getframe(level)
        inside = frame.f_globals.get("__name__", "").split(".")[0] in _OURS
        if not inside or frame.f_back is None:
            return level
    return 1
