"""What a region is like: where it lies in its image, and what is to be seen there."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import adaptive_avg_pool2d, avg_pool2d, normalize

from captum_tfa.auditing.evidence import Evidence

MAP_SIDE = 8
"""A map is made smaller to so many places a side, at most."""

PATCH_SIDE = 4
"""The part of the image under its peak likewise."""


MOST_IMAGES = 2000
"""So many different training images are searched, at most: those behind the most mistakes."""


@dataclass(frozen=True, eq=False)
class Described:
    """The regions of ``N`` different training images, those whose maps are not all zero.

    Attributes:
        images: their places in the training set, ``[N]``, rising.
        labels: ``[N]``.
        of_pair: which of them each pair of the evidence belongs to, ``[M]``; −1 for none.
        heat: what makes their scores what they are, the mean over an image's pairs, ``[N, H, W]``;
            the sum of each is 1.
        tops: the top left corner ``(y, x)`` of the window under the peak, ``[N, 2]``.
        patches: the image there, ``[N, C, h, w]`` in [0, 1].
    """

    images: Tensor
    labels: Tensor
    of_pair: Tensor
    heat: Tensor
    tops: Tensor
    patches: Tensor

    def __len__(self) -> int:
        return len(self.images)

    @property
    def contents(self) -> Tensor:
        """The patches made smaller, ``[N, D]``."""
        return _smaller(self.patches, PATCH_SIDE)

    @property
    def maps(self) -> Tensor:
        """The heat made smaller, of length 1, ``[N, D]``; 0 if there is none."""
        return normalize(_smaller(self.heat[:, None], MAP_SIDE), dim=1)

    @property
    def points(self) -> Tensor:
        """Maps and contents beside each other, each with a spread of 1, ``[N, D]``."""
        return torch.cat([_of_spread_one(self.maps), _of_spread_one(self.contents)], 1)


def describe(evidence: Evidence) -> Described:
    """The regions of the different training images in the evidence.

    The window is as large as one of an occlusion map: a quarter of the shorter side. It lies where
    it holds the most heat, then it is centred on the heat within the window's own reach.

    Args:
        evidence: maps of pairs; an image's maps count the same, however high its scores. Of more
            than `MOST_IMAGES` different images, those in the most pairs are described.
    """
    indices, of_pair = evidence.indices.unique(return_inverse=True)
    first = torch.full((len(indices),), len(evidence)).scatter_reduce(
        0, of_pair, torch.arange(len(evidence)), "amin"
    )
    heat = _of_sum_one(evidence.responsible.float())
    summed = torch.zeros(len(indices), *heat.shape[1:]).index_add_(0, of_pair, heat)
    heat = _of_sum_one(summed)
    hot = summed.sum((1, 2)) > 0
    if int(hot.sum()) > MOST_IMAGES:
        pairs = torch.where(hot, of_pair.bincount(minlength=len(hot)), 0)
        hot[pairs.argsort(descending=True, stable=True)[MOST_IMAGES:]] = False
    heat, first, indices = heat[hot], first[hot], indices[hot]
    number = torch.where(hot, hot.cumsum(0) - 1, -1)
    side = max(1, min(heat.shape[1:]) // 4)
    tops = _windows(heat, side)
    images = evidence.images[first]
    reach = torch.arange(side)
    rows, columns = tops[:, :1] + reach, tops[:, 1:] + reach
    patches = images[
        torch.arange(len(images))[:, None, None], :, rows[:, :, None], columns[:, None]
    ].permute(0, 3, 1, 2)
    if patches.dtype == torch.uint8:
        patches = patches.float() / 255
    return Described(indices, evidence.labels[first], number[of_pair], heat, tops, patches.float())


def _windows(heat: Tensor, side: int) -> Tensor:
    """The top left corners of the windows with the most heat, ``[N, 2]``."""
    within = avg_pool2d(avg_pool2d(heat[:, None], (side, 1), stride=1), (1, side), stride=1)[:, 0]
    best = within.flatten(1).argmax(1)
    tops = torch.stack([best // within.shape[2], best % within.shape[2]], 1)
    near_y = _near(tops[:, 0], heat.shape[1], side)
    near_x = _near(tops[:, 1], heat.shape[2], side)
    near = heat * near_y[:, :, None] * near_x[:, None]
    mass = near.sum((1, 2)).clamp(min=torch.finfo(heat.dtype).tiny)
    middles = torch.stack(
        [
            (near.sum(2) * torch.arange(heat.shape[1])).sum(1) / mass,
            (near.sum(1) * torch.arange(heat.shape[2])).sum(1) / mass,
        ],
        1,
    )
    centred = (middles - (side - 1) / 2).round().long()
    room = torch.tensor(heat.shape[1:]) - side
    moved = torch.minimum(centred.clamp(min=0), room)
    return torch.where((near.sum((1, 2)) > 0)[:, None], moved, tops)


def _near(starts: Tensor, length: int, side: int) -> Tensor:
    """Which places are less than half a window outside of windows, ``[N, length]``."""
    places, more = torch.arange(length), side // 2
    return ((places >= starts[:, None] - more) & (places < starts[:, None] + side + more)).float()


def _smaller(images: Tensor, side: int) -> Tensor:
    """Images ``[N, C, H, W]`` of at most so many places a side, ``[N, D]``."""
    height, width = images.shape[2:]
    return adaptive_avg_pool2d(images, (min(side, height), min(side, width))).flatten(1)


def _of_sum_one(heat: Tensor) -> Tensor:
    total = heat.sum((1, 2), keepdim=True)
    return torch.where(total > 0, heat / total.clamp(min=torch.finfo(heat.dtype).tiny), 0.0)


def _of_spread_one(points: Tensor) -> Tensor:
    """Points moved and scaled so that their mean squared distance from their mean is 1."""
    centred = points - points.mean(0)
    spread = centred.square().sum(1).mean().sqrt()
    return centred / spread if spread > 0 else centred
