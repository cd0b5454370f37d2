"""Made-up evidence whose regions are known: noise, with or without a square under the peaks."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from captum_tfa.auditing.evidence import Evidence

SIDE, SQUARE = 32, 8
RED = torch.tensor([1.0, 0.0, 0.1])


class Planted(NamedTuple):
    """Evidence, the training set that it comes from, and which of it carries the square."""

    evidence: Evidence
    pictures: Tensor
    labels: Tensor
    carries: Tensor


def planted(
    share: float,
    anywhere: bool = False,
    mistakes: int = 12,
    opponents: int = 5,
    images: int = 300,
    classes: int = 3,
    seed: int = 0,
    side: int = SIDE,
) -> Planted:
    """Opponents of mistakes in a training set of noisy pictures.

    Args:
        share: of the pairs whose training image carries a square of class 0, and whose map has its
            peak there; the others' maps have theirs at a random place.
        anywhere: whether the square is at a random place of each image, not in the corner.
        mistakes: how many.
        opponents: of each.
        images: in the training set.
        classes: likewise.
        seed: of everything.
        side: of the pictures, more than the square's.
    """
    draw = torch.Generator().manual_seed(seed)
    labels = torch.arange(images) % classes
    pictures = _pictures(images, side, draw)
    carries = (labels == 0) & (torch.rand(images, generator=draw) < 0.5) & (share > 0)
    tops = torch.randint(side - SQUARE + 1, (images, 2), generator=draw)
    squares = tops if anywhere else torch.full_like(tops, side - SQUARE)
    for index in carries.nonzero().flatten().tolist():
        _square(pictures[index], squares[index])[:] = RED[:, None, None]
    pairs = mistakes * opponents
    with_it = torch.rand(pairs, generator=draw) < share
    indices = torch.empty(pairs, dtype=torch.long)
    maps = 0.01 * torch.rand(pairs, side, side, generator=draw)
    for pair in range(pairs):
        among = (carries if with_it[pair] else ~carries).nonzero().flatten()
        index = int(among[torch.randint(len(among), (), generator=draw)])
        indices[pair] = index
        _square(maps[pair], squares[index] if with_it[pair] else tops[index])[:] += 1
    return Planted(
        Evidence(
            mistakes=torch.arange(pairs) // opponents,
            indices=indices,
            labels=labels[indices],
            scores=-0.1 - torch.rand(pairs, generator=draw),
            maps=-maps,
            images=pictures[indices],
        ),
        pictures,
        labels,
        carries,
    )


def _pictures(count: int, side: int, draw: torch.Generator) -> Tensor:
    """Smooth colours with some grain, like photographs more than like noise."""
    coarse = torch.rand(count, 3, 4, 4, generator=draw)
    smooth = torch.nn.functional.interpolate(coarse, (side, side), mode="bilinear")
    grain = 0.05 * torch.randn(count, 3, side, side, generator=draw)
    return (smooth + grain).clamp(0, 1)


def _square(image: Tensor, top: Tensor) -> Tensor:
    y, x = top.tolist()
    return image[..., y : y + SQUARE, x : x + SQUARE]
