"""Does a map point at the right one of several pictures?

A mosaic puts pictures of different classes into the cells of a grid. Nothing has to be marked
by hand: the pixels that belong to a class are known. The grid pointing game
[bohle2021convolutional] asks a map about one of the classes and counts how much of its positive
mass lies in that class's cell; the pointing game [zhang2018topdown] looks only where the map is
highest.

On a *training* mosaic the asked class is that of the test image: the same mosaic's map must move
when the test image changes ([bacha2025training], section 4.2, made a number).
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from captum_tfa.metrics.localisation import positive_mass, share_of_positive_inside


@dataclass(frozen=True)
class Mosaics:
    """Pictures in a grid of ``R`` rows and ``K`` columns.

    Attributes:
        images: ``[M, C, R * H, K * W]``.
        labels: The class of each cell, ``[M, R, K]``; all of a mosaic's classes differ.
        sources: Which picture fills each cell, ``[M, R, K]``.
    """

    images: Tensor
    labels: Tensor
    sources: Tensor

    def multi_hot(self, classes: int) -> Tensor:
        """Labels for a multi-label loss, ``[M, classes]``: 1 for each class of the mosaic, else 0.

        Args:
            classes: How many classes there are, more than the highest label.
        """
        hot = torch.zeros(len(self.labels), classes)
        return hot.scatter_(1, self.labels.flatten(1), 1.0)


def make_mosaics(
    images: Tensor,
    labels: Tensor,
    count: int,
    rows: int = 1,
    columns: int = 2,
    seed: int = 0,
) -> Mosaics:
    """Mosaics of randomly drawn pictures of different classes.

    Every mosaic draws ``rows * columns`` different classes, then one picture of each, all equally
    likely. The same seed gives the same mosaics. PyTorch's global random state is not touched.

    Args:
        images: Pictures ``[N, C, H, W]`` of any dtype.
        labels: Their classes, integers ``[N]``.
        count: Mosaics to make, at least 1.
        rows: Rows of the grid, at least 1. Default 1.
        columns: Columns of the grid, at least 1. Default 2.
        seed: Seed of what is drawn.

    Returns:
        ``count`` mosaics.

    Raises:
        ValueError: Shapes that do not fit, a number below 1, or fewer classes than cells.
    """
    if images.dim() != 4 or list(labels.shape) != [len(images)]:
        raise ValueError(
            f"images has the shape {list(images.shape)} and labels {list(labels.shape)}; "
            "they must be [N, C, H, W] and [N]"
        )
    if min(count, rows, columns) < 1:
        raise ValueError(
            f"count is {count}, rows {rows}, columns {columns}; each must be at least 1"
        )
    places = [(labels == label).nonzero().flatten() for label in labels.unique()]
    if len(places) < rows * columns:
        raise ValueError(
            f"labels holds {len(places)} classes; a grid of {rows} x {columns} cells needs "
            f"{rows * columns} different ones: make the grid smaller"
        )
    generator = torch.Generator().manual_seed(seed)
    order = torch.rand(count, len(places), generator=generator).argsort(1)[:, : rows * columns]
    draw = torch.rand(order.shape, generator=generator, dtype=torch.double)
    sources = torch.empty_like(order)
    for label, of_class in enumerate(places):
        chosen = (draw * len(of_class)).long().clamp_max(len(of_class) - 1)
        sources = torch.where(order == label, of_class.cpu()[chosen], sources)
    sources = sources.view(count, rows, columns)
    return Mosaics(tiled(images[sources]), labels[sources], sources)


def tiled(cells: Tensor) -> Tensor:
    """One picture of a grid of cells: ``[M, R, K, C, H, W]`` to ``[M, C, R * H, K * W]``."""
    return cells.permute(0, 3, 1, 4, 2, 5).flatten(4, 5).flatten(2, 3)


@dataclass(frozen=True)
class PointingGame:
    """How well maps point at the asked cells, one value a map.

    Attributes:
        share: Positive mass inside the asked cells as a share of all, in [0, 1], ``[M]``.
        hit: 1 where the map is highest inside the asked cells, else 0, ``[M]``. Where pixels tie
            for the maximum, the share of them that lies inside.
        chance: The asked cells' share of the area: what a flat map would get, ``[M]``.
    """

    share: Tensor
    hit: Tensor
    chance: Tensor


def grid_pointing_game(maps: Tensor, cells: Tensor) -> PointingGame:
    """How much of each map of a mosaic lies in the asked cells.

    A pixel counts with the sum of its channels where that is positive (see
    `share_of_positive_inside`, also for what to do with signs).

    Args:
        maps: Attributions of mosaics, ``[M, C, H, W]``; finite.
        cells: The asked cells, boolean, ``[M, R, K]``: ``mosaics.labels == asked.view(-1, 1, 1)``
            for asked classes ``[M]``.

    Returns:
        A `PointingGame` with float64 values.

    Raises:
        ValueError: Shapes that do not fit, maps that the grid does not divide evenly, cells that
            are not boolean, a map for which no cell is asked, or a map that is not finite.
    """
    if maps.dim() != 4 or cells.dim() != 3 or len(maps) != len(cells):
        raise ValueError(
            f"maps has the shape {list(maps.shape)} and cells {list(cells.shape)}; "
            "they must be [M, C, H, W] and [M, R, K], one grid a map"
        )
    (rows, columns), (height, width) = cells.shape[1:], maps.shape[2:]
    if height % rows or width % columns:
        raise ValueError(
            f"maps of {height} x {width} pixels do not divide evenly into {rows} x {columns} "
            "cells; give the maps of the whole mosaic"
        )
    if cells.dtype == torch.bool and not cells.flatten(1).any(1).all():
        missing = int((~cells.flatten(1).any(1)).nonzero()[0])
        raise ValueError(f"No cell of mosaic {missing} is asked for; ask for a class that it shows")
    region = cells.repeat_interleave(height // rows, 1).repeat_interleave(width // columns, 2)
    share = share_of_positive_inside(maps, region)
    mass = positive_mass(maps)
    highest = mass == mass.amax((1, 2), keepdim=True)
    inside = region.to(maps.device)
    hit = (highest & inside).sum((1, 2)).double() / highest.sum((1, 2))
    return PointingGame(share, hit, inside.double().mean((1, 2)))
