from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from captum_tfa.metrics.mosaics import grid_pointing_game, make_mosaics, tiled


def numbered(per_class: int, classes: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Pictures ``[N, 2, 3, 4]`` that hold their own number everywhere, and their classes."""
    labels = torch.arange(per_class * classes) % classes
    return torch.arange(len(labels)).view(-1, 1, 1, 1).expand(-1, 2, 3, 4), labels


def test_cells_lie_where_the_grid_says() -> None:
    cells = torch.arange(4).view(1, 2, 2, 1, 1, 1).expand(-1, -1, -1, -1, 2, 3)
    assert tiled(cells)[0, 0].tolist() == [
        [0, 0, 0, 1, 1, 1],
        [0, 0, 0, 1, 1, 1],
        [2, 2, 2, 3, 3, 3],
        [2, 2, 2, 3, 3, 3],
    ]


@settings(deadline=None)
@given(rows=st.integers(1, 3), columns=st.integers(1, 3), seed=st.integers(0, 99))
def test_every_cell_shows_the_picture_and_class_that_it_names(
    rows: int, columns: int, seed: int
) -> None:
    images, labels = numbered(per_class=3, classes=9)
    mosaics = make_mosaics(images, labels, 5, rows, columns, seed)
    assert mosaics.images.shape == (5, 2, 3 * rows, 4 * columns)
    for row in range(rows):
        for column in range(columns):
            cell = mosaics.images[:, :, 3 * row : 3 * row + 3, 4 * column : 4 * column + 4]
            source = mosaics.sources[:, row, column]
            assert torch.equal(cell, source.view(-1, 1, 1, 1).expand_as(cell))
            assert torch.equal(mosaics.labels[:, row, column], labels[source])


def test_the_classes_of_a_mosaic_differ_and_are_its_labels() -> None:
    mosaics = make_mosaics(*numbered(2, 4), 50, 2, 2)
    assert (mosaics.labels.flatten(1).sort(1).values == torch.arange(4)).all()
    pairs = make_mosaics(*numbered(2, 4), 50)
    hot = pairs.multi_hot(6)
    assert hot.shape == (50, 6)
    assert (hot.sum(1) == 2).all()
    assert (hot.gather(1, pairs.labels.flatten(1)) == 1).all()


def test_every_picture_comes_equally_often_to_every_cell() -> None:
    images, labels = numbered(3, 4)
    sources = make_mosaics(images, labels, 12_000).sources
    for cell in sources.flatten(1).T:  # 12,000 draws of 12: 1,000 each, deviation 30
        assert ((torch.bincount(cell, minlength=12) - 1000).abs() < 150).all()


def test_the_seed_decides_and_the_global_random_state_stays() -> None:
    images, labels = numbered(5, 4)
    before = torch.get_rng_state()
    first, again, other = (make_mosaics(images, labels, 20, seed=seed) for seed in (1, 1, 2))
    assert torch.equal(torch.get_rng_state(), before)
    assert torch.equal(first.images, again.images)
    assert not torch.equal(first.images, other.images)


def test_labels_need_not_begin_at_zero() -> None:
    images, labels = numbered(2, 3)
    mosaics = make_mosaics(images, labels * 10 + 7, 9)
    assert set(mosaics.labels.flatten().tolist()) <= {7, 17, 27}


def test_hand_made_game() -> None:
    maps = torch.zeros(1, 2, 2, 4)  # two cells of 2 x 2
    maps[0, :, 0, 0] = torch.tensor([2.0, -1.0])  # the sum counts: 1, left
    maps[0, :, 1, 3] = torch.tensor([1.0, 2.0])  # 3, right
    maps[0, :, 0, 1] = -5.0  # speaks against: no mass
    left = grid_pointing_game(maps, torch.tensor([[[True, False]]]))
    right = grid_pointing_game(maps, torch.tensor([[[False, True]]]))
    assert (left.share.item(), right.share.item()) == (0.25, 0.75)
    assert (left.hit.item(), right.hit.item()) == (0, 1)
    assert (left.chance.item(), right.chance.item()) == (0.5, 0.5)


@settings(deadline=None)
@given(rows=st.integers(1, 3), columns=st.integers(1, 3), side=st.integers(1, 4))
def test_the_cells_share_all_of_a_map(rows: int, columns: int, side: int) -> None:
    maps = torch.randn(1, 3, rows * side, columns * side).expand(rows * columns, -1, -1, -1)
    cells = torch.eye(rows * columns).bool().view(-1, rows, columns)  # each cell in turn
    game = grid_pointing_game(maps, cells)
    for part in (game.share, game.hit, game.chance):
        assert part.sum().item() == pytest.approx(1)


def test_a_map_without_positive_mass_is_at_chance() -> None:
    cells = torch.tensor([[[True, False, False, False]], [[True, True, True, False]]])
    game = grid_pointing_game(-torch.rand(2, 1, 4, 8), cells)
    assert game.share.tolist() == game.hit.tolist() == game.chance.tolist() == [0.25, 0.75]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"images": torch.zeros(6, 4, 4)}, r"must be \[N, C, H, W\] and \[N\]"),
        ({"labels": torch.zeros(5).long()}, r"labels \[5\]"),
        ({"count": 0}, "count is 0"),
        ({"rows": 0}, "rows 0"),
        ({"columns": -1}, "columns -1"),
        ({"rows": 2, "columns": 2}, "3 classes; a grid of 2 x 2 cells needs 4"),
    ],
)
def test_bad_mosaics_are_named(change: dict[str, Any], message: str) -> None:
    given = {"images": torch.zeros(6, 1, 4, 4), "labels": torch.arange(6) % 3, "count": 2}
    with pytest.raises(ValueError, match=message):
        make_mosaics(**{**given, **change})


@pytest.mark.parametrize(
    ("maps", "cells", "message"),
    [
        (torch.zeros(3, 4, 4), torch.ones(3, 1, 2) > 0, r"must be \[M, C, H, W\]"),
        (torch.zeros(3, 1, 4, 4), torch.ones(2, 1, 2) > 0, r"cells \[2, 1, 2\]"),
        (torch.zeros(3, 1, 4, 5), torch.ones(3, 1, 2) > 0, "4 x 5 pixels do not divide"),
        (torch.zeros(3, 1, 4, 4), torch.ones(3, 1, 2), "must be boolean"),
        (torch.zeros(3, 1, 4, 4), torch.zeros(3, 1, 2) > 0, "No cell of mosaic 0"),
        (torch.full((3, 1, 4, 4), torch.inf), torch.ones(3, 1, 2) > 0, "NaN or infinity"),
    ],
)
def test_bad_games_are_named(maps: torch.Tensor, cells: torch.Tensor, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        grid_pointing_game(maps, cells)
