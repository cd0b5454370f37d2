"""Which regions of training images come up again and again behind the mistakes?"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

import torch
from torch import Tensor

from captum_tfa.auditing.clustering import LEAST_POINTS, spectral_clusters
from captum_tfa.auditing.clusters import FALSE_ALARMS, LEAST_LIFT, Cluster, made, needed, stands_out
from captum_tfa.auditing.control import elsewhere
from captum_tfa.auditing.descriptors import MOST_IMAGES, Described, describe
from captum_tfa.auditing.embedding import on_a_plane
from captum_tfa.auditing.evidence import Evidence
from captum_tfa.auditing.excess import LEAST, Contents, Excess

# The maps of a draw are moved round until there are so many regions by chance, within bounds.
_REGIONS_ELSEWHERE, _LEAST_OFTEN, _MOST_OFTEN = 2000, 3, 100
_BYTES_ELSEWHERE = 2**24  # of the moved maps and their images, about so many at once, at most
_MOST_BY_CHANCE = 20_000  # regions that others are compared with
_NO_PAIR = -1


@dataclass(frozen=True)
class ControlNumbers:
    """What the top cluster is compared with.

    Attributes:
        strengths: the top cluster's strength of each control draw, in nats.
        needed: what a cluster's strength must exceed for it to stand out: the most of these, or the
            quantile of Gumbel's law through them if that is more.
        needed_lift: how many times as often as by chance it must come up besides.
        false_alarm_rate: how often at least one cluster of evidence that is no different from the
            control stands out, by Gumbel's law; whatever the law, at most 1 in (draws + 1).
    """

    strengths: tuple[float, ...]
    needed: float
    needed_lift: float
    false_alarm_rate: float


@dataclass(frozen=True, eq=False)
class Regions:
    """What was found.

    Attributes:
        clusters: those that stand out first, then by their strength. None, if all maps are zero.
        groups: the place of each pair's cluster in ``clusters``, ``[M]``; −1 for a pair whose map
            is zero wherever its score could come from, and for images beyond `MOST_IMAGES`.
        embedding: two coordinates a pair, ``[M, 2]``; near ones are alike.
        control: what the top was compared with.
        stands_out: how many clusters do; they are the first ones.
        says: what stands out, or that nothing does, with the control's numbers, in plain words.
    """

    clusters: tuple[Cluster, ...]
    groups: Tensor
    embedding: Tensor
    control: ControlNumbers
    stands_out: int
    says: str


def find_regions(evidence: Evidence, control: Iterable[Evidence], *, seed: int = 0) -> Regions:
    """Cluster what the opponents of mistakes share, and say whether it is more than chance.

    SpRAy [lapuschkin2019unmasking] for training images: an image is described by its downsized map
    and by the part of it under the map's peak; spectral clustering of the 10 nearest neighbours,
    with as many clusters as the eigengap says. An image counts once, however many mistakes it
    stands behind. A cluster is as strong as the part under the peaks is more often the same than in
    random images and elsewhere in the same images (`Contents.excess`). Every draw of the control
    goes the same way, compared with all the others and the evidence: so the top of evidence that is
    no different from the control is stronger than all of ``R`` draws once in ``R + 1`` audits,
    however many clusters there are, and stronger than what is needed far more rarely. Since
    opponents are no random images, a cluster has to come up `LEAST_LIFT` times as often as by
    chance besides.

    Args:
        evidence: maps of the opponents of mistakes.
        control: the same by chance, see `chance_control`; taken one at a time. At least 1.
        seed: of k-means, of the embedding and of the control's other places.

    Raises:
        ImportError: scikit-learn is not installed; ``pip install "captum_tfa[audit]"``.
        ValueError: no control, or one whose images have another size than the evidence's.
    """
    found = describe(evidence)
    places = torch.full((len(evidence),), _NO_PAIR)
    draws = [_Draw(found, evidence, seed)]
    for number, each in enumerate(control):
        if each.images.shape[1:] != evidence.images.shape[1:]:
            raise ValueError(
                f"the control's images have the shape {tuple(each.images.shape[1:])}, those of the "
                f"evidence {tuple(evidence.images.shape[1:])}; they must be of one size"
            )
        draws.append(_Draw(describe(each), each, seed + 1 + number))
    if len(draws) == 1:
        raise ValueError("control is empty; without it nothing can stand out: give at least 1 draw")
    tops = [_top(draws, place) for place in range(1, len(draws))]
    numbers = ControlNumbers(tuple(tops), needed(tops), LEAST_LIFT, FALSE_ALARMS)
    if not len(found):
        says = "Nothing stands out: every map is zero, so none of them says where to look."
        plane = torch.zeros(len(evidence), 2, dtype=torch.float64)
        return Regions((), places, plane, numbers, 0, says)

    groups = _narrowed(_against_the_others(draws, 0), draws[0].groups, tops)
    clusters = sorted(
        (made(evidence, found, regions, excess, tops) for regions, excess in groups),
        key=lambda cluster: (cluster.stands_out, cluster.strength),
        reverse=True,
    )
    for place, cluster in enumerate(clusters):
        places[cluster.members] = place
    plane = torch.zeros(len(evidence), 2, dtype=torch.float64)
    here = found.of_pair >= 0
    plane[here] = on_a_plane(found.points, seed)[found.of_pair[here]]
    striking = sum(cluster.stands_out for cluster in clusters)
    says = _said(clusters, striking, numbers, len(found))
    return Regions(tuple(clusters), places, plane, numbers, striking, says)


class _Draw:
    """The evidence or a draw of the control: its clusters, and what lies elsewhere in its images.

    Args:
        found: its regions.
        evidence: the pairs.
        seed: of its clustering and of the other places.
    """

    def __init__(self, found: Described, evidence: Evidence, seed: int) -> None:
        self.contents = found.contents
        self.groups = spectral_clusters(found.points, seed)
        often = math.ceil(_REGIONS_ELSEWHERE / max(1, len(found)))
        often = min(max(often, _LEAST_OFTEN), _MOST_OFTEN)
        size = evidence.maps.nbytes + evidence.images.nbytes
        images = len(evidence.indices.unique())
        at_once = max(1, min(MOST_IMAGES // images, _BYTES_ELSEWHERE // size))
        others = [describe(each).contents for each in elsewhere(evidence, often, seed, at_once)]
        self.elsewhere = torch.cat(others)


def _against_the_others(draws: list[_Draw], place: int) -> Contents:
    others = [each.contents for number, each in enumerate(draws) if number != place]
    by_chance = [torch.cat(others), draws[place].elsewhere]
    return Contents(draws[place].contents, [_at_most(each) for each in by_chance])


def _at_most(regions: Tensor) -> Tensor:
    """Regions evenly spread over these, if there are more than memory allows to compare with."""
    return regions[:: max(1, math.ceil(len(regions) / _MOST_BY_CHANCE))]


def _narrowed(contents: Contents, groups: Tensor, tops: list[float]) -> list[tuple[Tensor, Excess]]:
    """The clusters, those that stand out without what is not the same; that is one of its own."""
    todo, done = contents.merged(groups), []
    while todo:
        regions, excess = todo.pop()
        if stands_out(excess, tops):
            same = contents.same(regions, excess)
            if not bool(same.all()):
                rest = regions[~same]
                todo.append((rest, contents.excess(rest)))
                regions = regions[same]
        done.append((regions, excess))
    return done


def _top(draws: list[_Draw], place: int) -> float:
    """The strength of a draw's strongest cluster; 0 if all its maps are zero."""
    if not len(draws[place].contents):
        return 0.0
    return _against_the_others(draws, place).merged(draws[place].groups)[0][1].strength


def _said(clusters: list[Cluster], stands_out: int, control: ControlNumbers, images: int) -> str:
    top = clusters[0]
    low, high = min(control.strengths), max(control.strengths)
    draws = len(control.strengths)
    how = f"comes up {top.lift:.3g} times as often as by chance"
    by_chance = (
        f"Needed are more than {control.needed:.3g} and {control.needed_lift:.3g} times as often; "
        f"the strongest of the control's {draws} draws have {low:.3g} to {high:.3g}."
    )
    if images < LEAST_POINTS:
        by_chance += (
            f" There are only {images} different training images, all one cluster: to tell groups "
            f"apart takes {LEAST_POINTS}, and to stand out {LEAST}."
        )
    if not stands_out:
        return (
            f"Nothing stands out: the strongest cluster has a strength of {top.strength:.3g} and "
            f"{how}. {by_chance}"
        )
    what = "One region stands out" if stands_out == 1 else f"{stands_out} regions stand out"
    where = "at one place" if top.at_one_place > 0.5 else "at varying places"
    first = "it" if stands_out == 1 else "the strongest"
    return (
        f"{what}: {first} lies in {top.images} training images, {where}, and stands behind "
        f"{top.share_of_mistakes:.0%} of the mistakes. It has a strength of {top.strength:.3g} and "
        f"{how}. {by_chance}"
    )
