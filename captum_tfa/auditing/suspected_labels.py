"""Which training labels may be wrong? Those that speak against the test images, and are not fitted.

What a rightly labelled image teaches helps other images of its class, and harms none much. An image
with a wrong label teaches against its own class and against the class that it shows, so its mean
score with the test images is low. These must be a fair sample of the test set, right and wrong
answers in their own proportion: of either alone the mean tells much less, and how many of its own
class an image opposes tells nothing (own measurements). A shortcut does harm as well, with right
labels, but those are fitted easily: so the loss has an equal say. It alone would miss wrong labels
that were learned by heart.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from captum_tfa.auditing.mistakes import Answers

SHOWN = 20
"""So many suspected labels are listed at most, ..."""

_ONE_IN = 20
"""... and no more than one in so many of the training images."""


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
    def harm(self) -> Tensor:
        """Minus the mean score with the sample, ``[N]``: above 0 it speaks against the test set."""
        return -self.total / self.sampled.clamp_min(1)


@dataclass(frozen=True)
class SuspectedLabel:
    """A training image whose label may be wrong.

    Attributes:
        index: Its place in the training set.
        label: Its label.
        predicted: What the model says of it.
        suspicion: The mean of two shares, in (0, 1]: of the training images with no higher loss,
            and of those that do no more harm.
        harm: Minus its mean score with a fair sample of the test images.
        own_class: Its mean score with those of the sample that bear its label; NaN if none does.
        loss: Its cross-entropy, in nats.
    """

    index: int
    label: int
    predicted: int
    suspicion: float
    harm: float
    own_class: float
    loss: float


def suspicion_of(tally: Tally, losses: Tensor) -> Tensor:
    """How suspicious each label is: the mean of the ranks of harm and loss, in (0, 1], ``[N]``.

    Args:
        tally: How training and test images go together.
        losses: Of the training images, ``[N]``.
    """
    return (_share_up_to(tally.harm) + _share_up_to(losses.double())) / 2


def suspected_labels(
    tally: Tally, answers: Answers, most: int = SHOWN
) -> tuple[SuspectedLabel, ...]:
    """The most suspicious labels, of images that do harm and have more than the median loss.

    Args:
        tally: How training and test images go together.
        answers: What the model says of the training images.
        most: At most so many, and at most one in 20 training images.
    """
    harm, losses = tally.harm, answers.losses
    suspicion = suspicion_of(tally, losses)
    own = tally.own_total / tally.own  # NaN where there is none
    order = suspicion.argsort(descending=True, stable=True)
    order = order[((harm > 0) & (losses > losses.median()))[order]]
    order = order[: min(most, max(1, len(harm) // _ONE_IN))]
    return tuple(
        SuspectedLabel(
            index,
            int(answers.labels[index]),
            int(answers.predicted[index]),
            float(suspicion[index]),
            float(harm[index]),
            float(own[index]),
            float(losses[index]),
        )
        for index in order.tolist()
    )


def _share_up_to(values: Tensor) -> Tensor:
    """For each value the share of all that are no higher, in (0, 1]."""
    return torch.searchsorted(values.sort().values, values, right=True).double() / len(values)
