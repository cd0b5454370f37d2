"""How sure is a number that was measured on a few test images, or on a few trainings?

Two 95 % intervals: the normal one of a mean over independent values, and the bootstrap's
[efron1993introduction] where a number is not a mean: draw as many parts with replacement as there
are, compute the number anew, and take the middle 95 % of many such draws.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

NORMAL_95 = 1.959964  # two-sided


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


def bootstrap_interval(
    statistic: Callable[[Tensor], float], count: int, draws: int = 1000, seed: int = 0
) -> Interval:
    """The percentile bootstrap interval of a number that is computed from ``count`` parts.

    Draws for which the number does not exist (NaN) are left out; if that leaves fewer than half,
    the interval is NaN.

    Args:
        statistic: From the indices of parts, ``[count]``, to the number.
        count: How many parts there are, at least 1.
        draws: How many samples are drawn, at least 100.
        seed: Seed of the draws, which are the same on every machine.

    Returns:
        The number of all parts, each taken once, and its interval. One part alone has none.

    Raises:
        ValueError: Fewer than one part or than 100 draws.
    """
    if count < 1 or draws < 100:
        raise ValueError(
            f"count is {count} and draws {draws}; the bootstrap needs at least 1 part and at "
            "least 100 draws, e.g. 1000"
        )
    whole = statistic(torch.arange(count))
    if count == 1:
        return Interval(whole, torch.nan, torch.nan)
    generator = torch.Generator().manual_seed(seed)
    found = torch.tensor(
        [statistic(torch.randint(count, (count,), generator=generator)) for _ in range(draws)],
        dtype=torch.double,
    )
    there = found[~found.isnan()]
    if 2 * len(there) < draws:
        return Interval(whole, torch.nan, torch.nan)
    return Interval(whole, float(there.quantile(0.025)), float(there.quantile(0.975)))
