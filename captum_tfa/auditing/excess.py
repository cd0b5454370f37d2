"""Does something lie under the peaks more often than chance would have it?

A scan statistic [kulldorff1997spatial] over what is seen there: a region is "the same" as another
if their contents are within a radius of each other. For every region of a cluster as the middle and
every radius, the share of the images whose region is the same, ``q``, stands against that of chance
regions, ``p``; the log-likelihood ratio

    n ln(q / p) + (N - n) ln((1 - q) / (1 - p))   where q > p, else 0

is the surprise, and its largest value the cluster's strength. Many vague likenesses and few exact
ones count alike; large parts of one colour, which come up everywhere, do not.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

LEAST = 5
"""A ball holds at least so many regions: what two or three images share does not come up again and
again."""

_NEAR = 0.25  # of a ball's regions: to these a region must be near to be the same


@dataclass(frozen=True)
class Excess:
    """A cluster's best ball of like contents.

    Attributes:
        strength: the log-likelihood ratio, at least 0, in nats.
        middle: the region in the middle, a place in the contents.
        radius: how far the others are, at most.
        within: how many of the cluster's regions are in the ball, itself counted in.
        lift: their share of all regions, as a multiple of the share of chance regions there.
    """

    strength: float
    middle: int
    radius: float
    within: int
    lift: float


class Contents:
    """What is seen in regions, against what is seen by chance.

    Args:
        seen: contents of ``N`` regions, ``[N, D]``.
        chance: contents of chance regions of several kinds, each ``[K, D]``, at least one kind;
            the kind in which a ball's contents come up most often counts.
    """

    def __init__(self, seen: Tensor, chance: Sequence[Tensor]) -> None:
        self.own = _distances(seen, seen).fill_diagonal_(0)
        self.chance = [_distances(seen, each).sort(1).values for each in chance]

    def excess(self, members: Tensor) -> Excess:
        """The best ball of some of the regions, places ``[m]``, at least one.

        Of fewer than `LEAST` regions it holds all, and its strength is 0.
        """
        radii = self.own[members][:, members].sort(1).values
        within = torch.arange(1, len(members) + 1, dtype=radii.dtype).expand_as(radii)
        p = self._by_chance(members, radii)
        ratio = log_likelihood_ratio(within, len(self.own), p)
        ratio[:, : min(LEAST, len(members)) - 1] = -1
        if len(members) < LEAST:
            ratio[:, -1] = 0
        row, column = divmod(int(ratio.argmax()), len(members))
        return Excess(
            strength=float(ratio[row, column]),
            middle=int(members[row]),
            radius=float(radii[row, column]),
            within=column + 1,
            lift=float((column + 1) / len(self.own) / p[row, column]),
        )

    def same(self, members: Tensor, excess: Excess) -> Tensor:
        """Which of a cluster's regions are the same as those in its best ball.

        They are in the ball, or at least `_NEAR` of the ball's regions lie within its radius of
        them: a window a little beside the others is far from the middle, but not from all.

        Returns:
            Truth values ``[m]``.
        """
        within = self.own[excess.middle][members] <= excess.radius
        near = (self.own[members][:, members[within]] <= excess.radius).double().mean(1)
        return within | (near >= _NEAR)

    def _by_chance(self, middles: Tensor, radii: Tensor) -> Tensor:
        """The share of chance regions in balls around ``[m]`` regions, ``[m, k]`` radii."""
        p = torch.zeros_like(radii)
        for far in self.chance:
            count = torch.searchsorted(far[middles], radii, right=True).double()
            # One more by chance than was seen: that none was seen does not mean never.
            p = p.maximum((count + 1) / (far.shape[1] + 1))
        return p

    def merged(self, groups: Tensor) -> list[tuple[Tensor, Excess]]:
        """The clusters, strongest first; those that one ball holds better than two are one.

        Args:
            groups: the cluster of each region, ``[N]``, whole numbers from 0.

        Returns:
            The regions of each cluster and its excess.
        """
        found = [(groups == each).nonzero().flatten() for each in groups.unique().tolist()]
        clusters = [(members, self.excess(members)) for members in found]
        while True:
            best, pair = 0.0, None
            for one in range(len(clusters)):
                for two in range(one):
                    both = torch.cat([clusters[one][0], clusters[two][0]])
                    alone = max(clusters[one][1].strength, clusters[two][1].strength)
                    gain = self.excess(both).strength - alone
                    if gain > best:
                        best, pair = gain, (one, two)
            if pair is None:
                return sorted(clusters, key=lambda cluster: -cluster[1].strength)
            one, two = pair
            both = torch.cat([clusters[one][0], clusters[two][0]]).sort().values
            kept = [cluster for place, cluster in enumerate(clusters) if place not in pair]
            clusters = [*kept, (both, self.excess(both))]


def log_likelihood_ratio(count: Tensor, of: int, p: Tensor) -> Tensor:
    """How surprising ``count`` of ``of`` is where ``p`` is expected, in nats; 0 if it is fewer."""
    q = count / of
    more = count * (q / p).log()
    fewer = torch.where(q < 1, (of - count) * ((1 - q) / (1 - p)).log(), 0.0)
    return torch.where(q > p, more + fewer, 0.0)


def _distances(one: Tensor, two: Tensor) -> Tensor:
    """Root mean squared difference of contents, ``[N, K]``, float64."""
    exact = "donot_use_mm_for_euclid_dist"
    found: Tensor = torch.cdist(one.double(), two.double(), compute_mode=exact)
    return found / math.sqrt(one.shape[1])
