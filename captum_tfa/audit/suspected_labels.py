"""Which training labels may be wrong? Those whose images speak against the test images.

What a rightly labelled image teaches helps other images of its class, and harms none much. An image
with a wrong label teaches against its own class and against the class that it shows. So its mean
score with the test images is low. These must be a fair sample of the test set, right and wrong
answers in their own proportion: of right answers alone, or of wrong ones, the mean tells much less,
and how many of its own class an image opposes tells nothing (own measurements).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

SHOWN = 20
"""So many suspected labels are listed, if there are so many."""

_FAR = 3.0
"""A label is suspected from so many robust standard deviations below the typical training image."""

_NORMAL = 1.4826  # standard deviations of a normal distribution in its median absolute deviation


@dataclass(frozen=True, eq=False)
class Tally:
    """How each training image goes with a sample of the test images, added up.

    Attributes:
        sampled: How many test images there were, ``[]``.
        total: The sum of each training image's scores with them, ``[N]``, float64.
        own: How many of them bear its label, ``[N]``.
        own_total: The sum of its scores with these, ``[N]``, float64.
    """

    sampled: Tensor
    total: Tensor
    own: Tensor
    own_total: Tensor

    @classmethod
    def nothing(cls, count: int) -> Tally:
        """Of ``count`` training images before any test image was asked."""
        none = torch.zeros(count, dtype=torch.double)
        return cls(torch.tensor(0), none, torch.zeros(count, dtype=torch.long), none)

    @classmethod
    def of(cls, scores: Tensor, test_labels: Tensor, train_labels: Tensor) -> Tally:
        """Of scores ``[Q, N]``, with the labels of both sides."""
        own = test_labels[:, None] == train_labels
        return cls(
            torch.tensor(len(scores)),
            scores.double().sum(0),
            own.sum(0),
            torch.where(own, scores, 0).double().sum(0),
        )

    def __add__(self, other: Tally) -> Tally:
        return Tally(*(getattr(self, name) + getattr(other, name) for name in vars(self)))

    @property
    def suspicion(self) -> Tensor:
        """Minus the mean score with the sample, ``[N]``: higher is more suspicious."""
        return -self.total / self.sampled.clamp_min(1)


@dataclass(frozen=True)
class SuspectedLabel:
    """A training image whose label may be wrong.

    Attributes:
        index: Its place in the training set.
        label: Its label.
        suspicion: Minus its mean score with a fair sample of the test images.
        deviations: How far that lies above the typical training image's, in robust standard
            deviations.
        own_class: Its mean score with the test images of its own label; NaN if there were none.
    """

    index: int
    label: int
    suspicion: float
    deviations: float
    own_class: float


def suspected_labels(
    tally: Tally, train_labels: Tensor, most: int = SHOWN
) -> tuple[SuspectedLabel, ...]:
    """The most suspicious labels, if they are far from the others.

    Args:
        tally: How training and test images go together.
        train_labels: ``[N]``.
        most: At most so many.
    """
    suspicion = tally.suspicion
    middle = suspicion.median()
    spread = _NORMAL * (suspicion - middle).abs().median()
    if not spread > 0:
        return ()
    deviations = (suspicion - middle) / spread
    own = tally.own_total / tally.own  # NaN where there is none
    order: Sequence[int] = deviations.argsort(descending=True, stable=True)[:most].tolist()
    return tuple(
        SuspectedLabel(
            index,
            int(train_labels[index]),
            float(suspicion[index]),
            float(deviations[index]),
            float(own[index]),
        )
        for index in order
        if deviations[index] >= _FAR and suspicion[index] > 0
    )
