"""Does a score predict what models say that were trained on parts of the training set?

The linear datamodelling score [park2023trak], after the datamodels of [ilyas2022datamodels]: for a
query ``q``, Spearman's correlation over subsets ``D`` of the training set, between the sum of the
scores ``Σ_{n in D} τ(q, n)`` and what a model trained on ``D`` alone says of ``q``; then the mean
over queries. It is 1 for a score that orders the subsets rightly, and 0 for one that knows nothing.

With the subsets of `leave_groups_out` it is the rank correlation with leaving one out, or groups.
Subsets of one size are compared: the sum of the scores says what *these* examples do rather than
others, not what more examples do. So a model of everything does not count.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from captum_tfa.metrics.intervals import Interval, jackknife_interval, normal_interval
from captum_tfa.metrics.similarity import spearman
from captum_tfa.metrics.subsets import Retrained

_TIE = 1e-10  # sums of scores that differ by less, relative to their parts, are equal but rounding


@dataclass(frozen=True)
class LinearDatamodellingScore:
    """How well scores predict retraining.

    Attributes:
        per_query: Spearman's correlation over subsets for each query, ``[Q]``, in [-1, 1]. 0 where
            the score says the same of every subset, as it does if all of its values are 0.
        silent: How many queries these are.
        over_queries: The mean over queries with its 95 % normal interval: how it would vary with
            other queries and the same trainings.
        over_subsets: The same mean with its 95 % jackknife interval over subsets: how it would
            vary with other subsets and the same queries. Mostly the wider one where subsets are
            few.
        subsets: How many different subsets there are.
    """

    per_query: Tensor
    silent: int
    over_queries: Interval
    over_subsets: Interval
    subsets: int

    @property
    def mean(self) -> float:
        """The score itself, in [-1, 1]."""
        return self.over_queries.mean

    def __str__(self) -> str:
        queries, subsets = self.over_queries, self.over_subsets
        return (
            f"{self.mean:.3g}, over queries [{queries.low:.3g}, {queries.high:.3g}], over "
            f"{self.subsets} subsets [{subsets.low:.3g}, {subsets.high:.3g}]"
        )


def linear_datamodelling_score(scores: Tensor, retrained: Retrained) -> LinearDatamodellingScore:
    """The linear datamodelling score of scores from any source.

    Args:
        scores: Of each training example for each query, ``[Q, N]``; higher is more helpful, as
            `ScoreInfluence` gives them. Finite.
        retrained: Models trained on subsets; see `retrain_subsets`. Several seeds of one subset
            are averaged first. Models of the whole training set are left aside.

    Raises:
        ValueError: Shapes that do not fit, scores that are not finite, fewer than three subsets,
            or a query of which all models say the same.
    """
    members, outputs = retrained.over_seeds()
    parts = ~members.all(1)
    members, outputs = members[parts], outputs[parts]
    if list(scores.shape) != [outputs.shape[1], members.shape[1]]:
        raise ValueError(
            f"scores have the shape {list(scores.shape)}; the models were asked about "
            f"{outputs.shape[1]} queries and trained on parts of {members.shape[1]} examples: "
            f"give {[outputs.shape[1], members.shape[1]]}"
        )
    if not bool(torch.isfinite(scores).all()):
        raise ValueError("scores hold NaN or infinity; they cannot be summed")
    if len(members) < 3:
        raise ValueError(f"there are {len(members)} subsets; an order takes at least 3")
    same = (outputs == outputs[:1]).all(0)
    if bool(same.any()):
        raise ValueError(
            f"all models say the same of {int(same.sum())} queries, the first of them "
            f"{int(same.nonzero()[0])}; there is nothing to predict: leave these queries out"
        )
    predicted = _sums(scores, members)
    measured = outputs.T

    def per_query(rows: Tensor) -> Tensor:
        return spearman(predicted[:, rows], measured[:, rows]).nan_to_num(0.0)

    found = per_query(torch.arange(len(members)))
    return LinearDatamodellingScore(
        per_query=found,
        silent=int((predicted == predicted[:, :1]).all(1).sum()),
        over_queries=normal_interval(found),
        over_subsets=jackknife_interval(lambda rows: float(per_query(rows).mean()), len(members)),
        subsets=len(members),
    )


def _sums(scores: Tensor, members: Tensor) -> Tensor:
    """``Σ_{n in subset} τ(q, n)``, ``[Q, M]``, float64; equal where they differ by rounding."""
    plain, chosen = scores.detach().cpu().double(), members.double()
    sums = plain @ chosen.T
    rounding = _TIE * (plain.abs() @ chosen.T).amax(1, keepdim=True)
    flat = (sums.amax(1, keepdim=True) - sums.amin(1, keepdim=True)) <= rounding
    return torch.where(flat, sums[:, :1], sums)
