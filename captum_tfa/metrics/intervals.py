"""How sure is a number that was measured on a few test images, or on a few trainings?

Two 95 % intervals: the normal one of a mean over independent values; and, where a number is not a
mean, the jackknife's [efron1993introduction]: compute it anew without each part, ``s_i``, and take
``√((n − 1)/n Σ (s_i − mean s)²)`` for its standard error. The bootstrap would do as well, but it
draws parts twice, whose tied ranks pull rank correlations down.
"""

from __future__ import annotations

from collections.abc import Callable
from statistics import NormalDist
from typing import NamedTuple

import torch
from torch import Tensor

NORMAL_95 = NormalDist().inv_cdf(0.975)  # two-sided


class Interval(NamedTuple):
    """A number with the ends of its 95 % interval; NaN where one value alone leaves none."""

    mean: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.mean:.3g} [{self.low:.3g}, {self.high:.3g}]"


def normal_interval(values: Tensor) -> Interval:
    """``mean ± 1.96 · deviation / √n`` of independent values.

    Args:
        values: ``[n]``, at least one; finite.

    Raises:
        ValueError: No value, another shape, or one that is not finite.
    """
    if values.dim() != 1 or len(values) == 0 or not bool(torch.isfinite(values).all()):
        raise ValueError(
            f"values have the shape {list(values.shape)}, "
            f"{int((~torch.isfinite(values)).sum())} of them not finite; give at least one finite "
            "number, as [n]"
        )
    numbers = values.detach().double()
    mean = float(numbers.mean())
    half = NORMAL_95 * float(numbers.std()) / len(numbers) ** 0.5 if len(numbers) > 1 else torch.nan
    return Interval(mean, mean - half, mean + half)


def jackknife_interval(statistic: Callable[[Tensor], float], count: int) -> Interval:
    """The jackknife's 95 % interval of a number that is computed from ``count`` parts.

    Computes the number ``count + 1`` times.

    Args:
        statistic: From the indices of parts, ``[count]`` or one fewer, to the number; finite.
        count: How many independent parts there are, at least 1.

    Returns:
        The number of all parts, ``± 1.96`` standard errors. One part alone has no interval.

    Raises:
        ValueError: Fewer than one part, or a number that is not finite.
    """
    if count < 1:
        raise ValueError(f"count is {count}; an interval needs at least 1 part")
    everything = torch.arange(count)
    whole = statistic(everything)
    if count == 1:
        return Interval(whole, torch.nan, torch.nan)
    found = torch.tensor(
        [statistic(everything[everything != part]) for part in range(count)], dtype=torch.double
    )
    if not bool(torch.isfinite(found).all()):
        raise ValueError(
            f"the number does not exist without some of the {count} parts; measure more of them"
        )
    squares = ((found - found.mean()) ** 2).sum()
    half = NORMAL_95 * float((count - 1) / count * squares) ** 0.5
    return Interval(whole, whole - half, whole + half)
