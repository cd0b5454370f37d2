"""Is one thing better than another, measured on the same pairs?

A few test images with a huge loss dominate a mean, so the mean never comes alone: its interval,
the median and the share of pairs won stand beside it.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from captum_tfa.metrics.intervals import normal_interval


@dataclass(frozen=True)
class PairedDifference:
    """The differences ``treated − control`` over pairs.

    Attributes:
        mean: Their mean.
        low: Lower end of the mean's 95 % interval ``mean ± 1.96 · deviation / √pairs``. It takes
            the pairs as independent; of several pairs with one test image give the mean first.
        high: Its upper end. One pair alone has no interval: both ends are NaN.
        median: Their median, halfway between the two in the middle if there are two.
        won: Share of the pairs in which the treated value is the better one, in [0, 1]; a tie
            counts one half, so chance level is 0.5.
        pairs: How many there are.
    """

    mean: float
    low: float
    high: float
    median: float
    won: float
    pairs: int

    def __str__(self) -> str:
        return (
            f"{self.mean:.3g} [{self.low:.3g}, {self.high:.3g}], median {self.median:.3g}, "
            f"won {self.won:.0%} of {self.pairs}"
        )


def paired_difference(
    treated: Tensor, control: Tensor, lower_is_better: bool = True
) -> PairedDifference:
    """What the treatment changes, over pairs.

    Args:
        treated: One number a pair, ``[P]``; finite.
        control: The number of the same pairs under the control, ``[P]``; finite.
        lower_is_better: Which value wins a pair: the lower one, as for a loss (the default), or
            the higher one.

    Returns:
        Mean, interval, median and share won of ``treated − control``, computed in float64.

    Raises:
        ValueError: Shapes that are not the same ``[P]``, no pair, or a value that is not finite.
    """
    if treated.dim() != 1 or treated.shape != control.shape or len(treated) == 0:
        raise ValueError(
            f"treated has the shape {list(treated.shape)}, control {list(control.shape)}; both "
            "must be [P], one number a pair, with P at least 1"
        )
    gaps = treated.detach().double() - control.detach().double()
    if not bool(torch.isfinite(gaps).all()):
        raise ValueError(
            f"{int((~torch.isfinite(gaps)).sum())} of {len(gaps)} pairs are not finite; "
            "find out why, or leave these pairs out on both sides"
        )
    better = -gaps if lower_is_better else gaps
    mean, low, high = normal_interval(gaps)
    return PairedDifference(
        mean=mean,
        low=low,
        high=high,
        median=float(gaps.quantile(0.5)),
        won=float((better > 0).double().mean() + 0.5 * (better == 0).double().mean()),
        pairs=len(gaps),
    )
