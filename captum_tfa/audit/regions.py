"""Which regions of training images come up again and again behind the mistakes?"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from torch import Tensor

from captum_tfa.audit.evidence import Evidence


@dataclass(frozen=True, eq=False)
class Cluster:
    """Regions that look alike and lie alike.

    Attributes:
        members: their pairs, places in the evidence, ``[m]``, the most typical first.
        mean_map: what makes their scores what they are, ``[H, W]``; each map weighs the same, and
            its sum is 1 (0 if all maps are zero).
        mean_patch: mean of the parts of the images under the maps' peaks, ``[C, h, w]`` in [0, 1].
        box: the typical region, ``(top, left, height, width)`` in pixels.
        peaks: for each member the middle of its map's peak ``(y, x)`` in pixels, ``[m, 2]``.
        images: how many different training images.
        share_of_mistakes: of the mistakes in the evidence that a member stands behind, in [0, 1].
        purity: the share of each label among the members, largest first.
        strength: how much more often such regions come up than chance would have it (nats).
        gap: ``strength`` minus the mean top strength of the control.
        p: share of the draws, this one counted in, whose top is as strong; in (0, 1].
        stands_out: whether it is stronger than the top of every control draw allows.
        examples: a few members, of different training images and mistakes, the most typical first.
    """

    members: Tensor
    mean_map: Tensor
    mean_patch: Tensor
    box: tuple[int, int, int, int]
    peaks: Tensor
    images: int
    share_of_mistakes: float
    purity: dict[int, float]
    strength: float
    gap: float
    p: float
    stands_out: bool
    examples: Tensor


@dataclass(frozen=True)
class ControlNumbers:
    """What the top cluster is compared with.

    Attributes:
        strengths: the top cluster's strength of each control draw.
        needed: what a cluster must have to stand out.
        false_alarm_rate: how often the top of evidence without a cause stands out.
    """

    strengths: tuple[float, ...]
    needed: float
    false_alarm_rate: float


@dataclass(frozen=True, eq=False)
class Regions:
    """What was found.

    Attributes:
        clusters: the most striking first.
        groups: the place of each pair's cluster in ``clusters``, ``[M]``.
        embedding: two coordinates a pair, ``[M, 2]``; near ones are alike.
        control: what the top was compared with.
        stands_out: how many clusters do.
        says: one sentence: what stands out, or that nothing does, with the control's numbers.
    """

    clusters: tuple[Cluster, ...]
    groups: Tensor
    embedding: Tensor
    control: ControlNumbers
    stands_out: int
    says: str


def find_regions(evidence: Evidence, control: Iterable[Evidence], *, seed: int = 0) -> Regions:
    """Cluster what the opponents of mistakes share, and say whether it is more than chance.

    SpRAy [lapuschkin2019unmasking] for training images: a pair is described by its downsized map
    and by the part of its image under the map's peak; spectral clustering of the 10 nearest
    neighbours, with as many clusters as the eigengap says. The control goes the same way, so
    "stands out" holds for the top of all clusters at once.

    Args:
        evidence: maps of the opponents of mistakes.
        control: the same by chance, see `chance_control`; taken one at a time. At least 1.
        seed: of k-means and of the embedding.

    Raises:
        ImportError: scikit-learn is not installed; ``pip install "captum_tfa[audit]"``.
        ValueError: no control, or one of another size than the evidence.
    """
    raise NotImplementedError
