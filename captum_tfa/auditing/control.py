"""The chance control: the same with random training images and permuted maps."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import Dataset

from captum_tfa.auditing.evidence import Evidence

DRAWS = 19
"""Control draws, unless others are asked for: enough to tell how widely chance scatters."""


def chance_control(
    evidence: Evidence,
    pictures: Dataset[Any],
    labels: Tensor,
    draws: int = DRAWS,
    seed: int = 0,
) -> Iterator[Evidence]:
    """Evidence without a cause, drawn ``draws`` times; one at a time, to spare memory.

    Each training image of the evidence becomes a random one of its label, the same one in all of
    its pairs. Its maps become those of another image, moved round by a random way: what lies under
    their peaks is any part of the image. Nothing is computed anew, so a draw costs no more than
    fetching its pictures.

    Args:
        evidence: what was found.
        pictures: the training set as shown: ``pictures[index]`` is ``[C, H, W]``, of the type and
            size of ``evidence.images``, for each place in the training set.
        labels: the label of every training image, ``[N]``.
        draws: how many, at least 1.
        seed: of the draws.

    Raises:
        ValueError: no draw, or labels that do not hold those of the evidence.
    """
    if draws < 1:
        raise ValueError(f"draws is {draws}; a control needs at least 1, and some 20 to scatter")
    indices, image = evidence.indices.unique(return_inverse=True)
    if int(indices.max()) >= len(labels) or not bool(
        (labels[evidence.indices] == evidence.labels).all()
    ):
        raise ValueError(
            f"labels, {len(labels)} of them, do not say the same as those of the evidence; "
            "give the label of every training image in the training set's order"
        )
    own = labels[indices]
    chance = torch.Generator().manual_seed(seed)
    for _ in range(draws):
        drawn = torch.empty_like(indices)
        for label in own.unique().tolist():
            there = (own == label).nonzero().flatten()
            among = (labels == label).nonzero().flatten()
            drawn[there] = among[torch.randperm(len(among), generator=chance)[: len(there)]]
        shown = torch.stack([pictures[place] for place in drawn.tolist()])
        order = torch.randperm(len(evidence), generator=chance)
        yield Evidence(
            mistakes=evidence.mistakes,
            indices=drawn[image],
            labels=evidence.labels,
            scores=evidence.scores[order],
            maps=_moved_round(evidence.maps, order, _ways(evidence, image, chance)),
            images=shown[image],
        )


def elsewhere(
    evidence: Evidence, draws: int = DRAWS, seed: int = 0, at_once: int = 1
) -> Iterator[Evidence]:
    """The evidence's own images, each of whose maps was moved round: other parts of the same.

    Images of one kind have like parts everywhere, such as sky; these are no reason for anything.

    Args:
        evidence: what was found.
        draws: how often.
        seed: of the ways.
        at_once: so many draws come as one, at most, one after the other; the images of each then
            have places of their own, as if they were others.
    """
    indices, image = evidence.indices.unique(return_inverse=True)
    chance = torch.Generator().manual_seed(seed)
    apart = int(indices.max()) + 1
    for start in range(0, draws, at_once):
        ways = [_ways(evidence, image, chance) for _ in range(min(at_once, draws - start))]
        again = torch.arange(len(evidence)).repeat(len(ways))
        draw = torch.arange(len(ways)).repeat_interleave(len(evidence))
        yield Evidence(
            mistakes=evidence.mistakes[again],
            indices=evidence.indices[again] + draw * apart,
            labels=evidence.labels[again],
            scores=evidence.scores[again],
            maps=_moved_round(evidence.maps, again, torch.cat(ways)),
            images=evidence.images[again],
        )


def _ways(evidence: Evidence, image: Tensor, chance: torch.Generator) -> Tensor:
    """How far each map goes down and to the right, ``[M, 2]``; those of one image the same way."""
    count, sides = int(image.max()) + 1, evidence.maps.shape[1:]
    return torch.stack([torch.randint(n, (count,), generator=chance)[image] for n in sides], 1)


def _moved_round(maps: Tensor, chosen: Tensor, ways: Tensor) -> Tensor:
    """The ``chosen`` ones of maps ``[M, H, W]``, shifted with wrap-around."""
    height, width = maps.shape[1:]
    rows = (torch.arange(height) - ways[:, :1]) % height
    columns = (torch.arange(width) - ways[:, 1:]) % width
    return maps[chosen[:, None, None], rows[:, :, None], columns[:, None]]
