"""A cluster of regions: where it lies, whom it belongs to, what it looks like."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from captum_tfa.auditing.descriptors import Described
from captum_tfa.auditing.evidence import Evidence
from captum_tfa.auditing.excess import Excess

LEAST_LIFT = 15.0
"""A region that comes up less than so many times as often as by chance does not stand out.

Opponents are like each other more than random images are, and maps prefer the middle of an image,
so parts of objects and of their grounds come up several times as often, planted squares dozens of
times as often (own finding).
"""

EXAMPLES = 8
"""So many members are shown as examples, at most."""

_EULER = 0.5772156649015329  # the mean of Gumbel's law


@dataclass(frozen=True, eq=False)
class Cluster:
    """Regions that look alike and lie alike.

    Attributes:
        members: their pairs, places in the evidence, ``[m]``, the most typical first.
        images: how many different training images these are.
        share_of_mistakes: of the mistakes in the evidence that a member stands behind, in [0, 1].
        purity: the share of each label among its images, largest first.
        mean_map: what makes their scores what they are, ``[H, W]``; each image weighs the same, and
            the sum is 1.
        mean_patch: mean of the parts of the images under the maps' peaks, ``[C, h, w]`` in [0, 1].
        peaks: for each member the middle of its image's window ``(y, x)`` in pixels, ``[m, 2]``.
        box: the window that most of the others lie over, ``(top, left, height, width)`` in pixels.
        at_one_place: the share of its images whose window covers at least half of the box.
        strength: how surprising it is that so many regions are the same, in nats, at least 0.
        gap: ``strength`` minus the mean top strength of the control.
        lift: how many times as often they are the same as by chance, at most (a region that never
            came up by chance counts as if it had once).
        p: share of the control's draws, the evidence counted in, whose top is as strong, in (0, 1].
        stands_out: whether it is stronger than chance makes one (`ControlNumbers`), and comes up at
            least `LEAST_LIFT` times as often as by chance.
        examples: a few members, of different images and where possible different mistakes, the most
            typical first.
    """

    members: Tensor
    images: int
    share_of_mistakes: float
    purity: dict[int, float]
    mean_map: Tensor
    mean_patch: Tensor
    peaks: Tensor
    box: tuple[int, int, int, int]
    at_one_place: float
    strength: float
    gap: float
    lift: float
    p: float
    stands_out: bool
    examples: Tensor


FALSE_ALARMS = 0.001
"""How often at least one cluster of evidence without a cause is stronger than is needed."""


def needed(control: Sequence[float]) -> float:
    """The strength that a cluster must exceed to stand out.

    The top of many clusters follows Gumbel's law [gumbel1958statistics] more or less; the one with
    the mean and the deviation of the draws' tops exceeds this once in 1 / `FALSE_ALARMS` audits. It
    is never less than the highest of them.

    Args:
        control: the top strength of each draw, at least one.
    """
    tops = torch.tensor(control, dtype=torch.float64)
    scale = tops.std(correction=min(1, len(tops) - 1)) * math.sqrt(6) / math.pi
    middle = tops.mean() - _EULER * scale
    return max(float(tops.max()), float(middle - scale * math.log(-math.log1p(-FALSE_ALARMS))))


def stands_out(excess: Excess, control: Sequence[float]) -> bool:
    """Whether a cluster is stronger than chance makes one, and often enough the same."""
    return excess.strength > needed(control) and excess.lift >= LEAST_LIFT


def made(
    evidence: Evidence, found: Described, regions: Tensor, excess: Excess, control: Sequence[float]
) -> Cluster:
    """A cluster of some of the regions.

    Args:
        evidence: the pairs.
        found: the regions of their images.
        regions: which of them belong to the cluster, ``[r]``.
        excess: the cluster's.
        control: the top strength of each draw.
    """
    contents = found.contents
    far = (contents[regions] - contents[excess.middle]).square().sum(1)
    regions = regions[far.argsort(stable=True)]
    members = torch.cat([(found.of_pair == region).nonzero().flatten() for region in regions])
    labels, counts = found.labels[regions].unique(return_counts=True)
    order = counts.argsort(descending=True, stable=True)
    shares = (counts[order] / len(regions)).tolist()
    height, width = found.patches.shape[2:]
    window, at_one_place = _typical(found.tops[regions], height, width)
    middle = torch.tensor([(height - 1) / 2, (width - 1) / 2])
    tops = torch.tensor(control, dtype=torch.float64)
    return Cluster(
        members=members,
        images=len(regions),
        share_of_mistakes=len(evidence.mistakes[members].unique())
        / len(evidence.mistakes.unique()),
        purity=dict(zip(labels[order].tolist(), shares, strict=True)),
        mean_map=found.heat[regions].mean(0),
        mean_patch=found.patches[regions].mean(0),
        peaks=found.tops[found.of_pair[members]] + middle,
        box=(*window, height, width),
        at_one_place=at_one_place,
        strength=excess.strength,
        gap=excess.strength - float(tops.mean()),
        lift=excess.lift,
        p=(1 + int((tops >= excess.strength).sum())) / (1 + len(tops)),
        stands_out=stands_out(excess, control),
        examples=_examples(evidence, members),
    )


def _typical(tops: Tensor, height: int, width: int) -> tuple[tuple[int, int], float]:
    """The window over which most of the others lie, and how many lie over half of it."""
    apart = (tops[:, None] - tops).abs()
    common = (height - apart[..., 0]).clamp(min=0) * (width - apart[..., 1]).clamp(min=0)
    best = int(common.sum(1).argmax())
    top, left = tops[best].tolist()
    return (top, left), float((2 * common[best] >= height * width).float().mean())


def _examples(evidence: Evidence, members: Tensor) -> Tensor:
    """A member of each of the first images; if possible, one whose mistake is not shown yet."""
    of_image: dict[int, list[int]] = {}
    for member in members.tolist():
        of_image.setdefault(int(evidence.indices[member]), []).append(member)
    chosen: list[int] = []
    mistakes: set[int] = set()
    for candidates in list(of_image.values())[:EXAMPLES]:
        new = [member for member in candidates if int(evidence.mistakes[member]) not in mistakes]
        chosen.append((new or candidates)[0])
        mistakes.add(int(evidence.mistakes[chosen[-1]]))
    return torch.tensor(chosen)
