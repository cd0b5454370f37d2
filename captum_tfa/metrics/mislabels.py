"""Does a score find the training examples whose label is wrong?

Look at the training examples in the order of their suspicion. The area under the ROC curve is the
probability that a mislabelled example is more suspicious than a rightly labelled one; the recall at
a share says how many of the wrong labels are found when that share of the training set is looked
at. Usual suspicions: self-influence, which is large for an atypical label
[pruthi2020estimating], the loss, and minus the mean score for test images.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from captum_tfa.metrics.intervals import NORMAL_95, Interval


@dataclass(frozen=True)
class MislabelDetection:
    """How well a suspicion finds wrong labels.

    Attributes:
        auc: In [0, 1], chance 0.5, with DeLong's 95 % interval [delong1988comparing].
        recall: By share of the training set looked at, in [0, 1], chance is the share itself, with
            Wilson's 95 % interval for that many wrong labels.
    """

    auc: Interval
    recall: Mapping[float, Interval]


def mislabel_detection(
    suspicion: Tensor, mislabelled: Tensor, shares: Sequence[float] = (0.1, 0.2)
) -> MislabelDetection:
    """AUC and recall of a suspicion. Ties count as all of their orders on average.

    Args:
        suspicion: Of each training example, ``[N]``; higher is more suspicious. Finite.
        mislabelled: Which labels are wrong, boolean ``[N]``; some, not all.
        shares: Of the training set to look at, each in (0, 1].

    Raises:
        ValueError: Shapes or types that do not fit, values that are not finite, no wrong or no
            right label, or a share out of its range.
    """
    if suspicion.dim() != 1 or not bool(torch.isfinite(suspicion).all()):
        raise ValueError(
            f"suspicion has the shape {list(suspicion.shape)}, or is not finite; give one finite "
            "number a training example, [N]"
        )
    if mislabelled.dtype != torch.bool or mislabelled.shape != suspicion.shape:
        raise ValueError(
            f"mislabelled is {mislabelled.dtype} {list(mislabelled.shape)} for "
            f"{len(suspicion)} training examples; give boolean [{len(suspicion)}]"
        )
    wrong = int(mislabelled.sum())
    if not 0 < wrong < len(suspicion):
        raise ValueError(
            f"{wrong} of {len(suspicion)} labels are wrong; the measure needs both kinds"
        )
    if not shares or not all(0 < share <= 1 for share in shares):
        raise ValueError(f"shares is {list(shares)}; each must lie in (0, 1], e.g. 0.1 for 10 %")
    values, mislabelled = suspicion.detach().cpu().double(), mislabelled.cpu()
    return MislabelDetection(
        _auc(values[mislabelled], values[~mislabelled]),
        {share: _wilson(_found(values, mislabelled, share), wrong) for share in shares},
    )


def _auc(wrong: Tensor, right: Tensor) -> Interval:
    above = _share_below(wrong, right)  # of each wrong one: how many right ones it passes
    below = 1 - _share_below(right, wrong)  # of each right one: how many wrong ones pass it
    area = float(above.mean())
    if min(len(wrong), len(right)) < 2:
        return Interval(area, torch.nan, torch.nan)
    half = NORMAL_95 * float(above.var() / len(wrong) + below.var() / len(right)) ** 0.5
    return Interval(area, max(0.0, area - half), min(1.0, area + half))


def _share_below(values: Tensor, others: Tensor) -> Tensor:
    """The share of ``others`` below each value, ties counting one half: ``[n]``."""
    ordered = others.sort().values
    below = torch.searchsorted(ordered, values)
    up_to = torch.searchsorted(ordered, values, right=True)
    return (below + up_to).double() / (2 * len(others))


def _found(values: Tensor, mislabelled: Tensor, share: float) -> float:
    """The wrong labels among the ``round(share N)`` most suspicious, in the mean over ties."""
    looked_at = int(share * len(values) + 0.5)
    if looked_at == 0:
        return 0.0
    last = values.sort(descending=True).values[looked_at - 1]
    surely, tied = values > last, values == last
    of_tied = (looked_at - int(surely.sum())) / int(tied.sum())
    return float(mislabelled[surely].sum()) + of_tied * float(mislabelled[tied].sum())


def _wilson(found: float, count: int) -> Interval:
    share, z = found / count, NORMAL_95**2 / count
    middle = (share + z / 2) / (1 + z)
    half = (z * (share * (1 - share) + z / 4)) ** 0.5 / (1 + z)
    return Interval(share, max(0.0, middle - half), min(1.0, middle + half))
