"""CleanScore is a share of size; its control raises it and changes no rank."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from captum_tfa.metrics.clean_score import clean_score, clean_score_chance, sharpened


def seeded(*shape: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(1), dtype=torch.double)


@given(rows=st.integers(1, 3), height=st.integers(2, 5), width=st.integers(1, 5))
@settings(max_examples=20, deadline=None)
def test_it_is_the_share_counted_one_by_one(rows: int, height: int, width: int) -> None:
    maps = seeded(rows, 2, height, width)
    region = torch.zeros(height, width, dtype=torch.bool)
    region[0, 0] = True
    for row, found in enumerate(clean_score(maps, region).tolist()):
        inside = total = 0.0
        for channel in range(2):
            for y in range(height):
                for x in range(width):
                    size = abs(float(maps[row, channel, y, x]))
                    total += size
                    inside += size if (y, x) == (0, 0) else 0.0
        assert found == pytest.approx(inside / total, rel=1e-12)


def test_a_region_for_each_map_and_features_of_a_table() -> None:
    maps = torch.tensor([[1.0, -2.0, 1.0], [0.0, 3.0, -1.0]])
    region = torch.tensor([[True, False, False], [False, False, True]])
    assert clean_score(maps, region).tolist() == [0.25, 0.25]
    assert clean_score_chance(region, maps).tolist() == pytest.approx([1 / 3, 1 / 3])


def test_its_ends_and_chance() -> None:
    region = torch.zeros(4, 4, dtype=torch.bool)
    region[:2, :2] = True
    inside = region.double()[None]
    assert clean_score(inside, region).item() == 1
    assert clean_score(1 - inside, region).item() == 0
    assert clean_score(torch.zeros(1, 4, 4), region).item() == 0.25
    assert clean_score(torch.full((1, 4, 4), 1e308, dtype=torch.double), region).item() == 0.25
    drawn = clean_score(seeded(20_000, 4, 4), region)
    assert float(drawn.mean()) == pytest.approx(0.25, abs=0.002)


def test_the_control_changes_no_rank_and_raises_what_is_cleaner_than_chance() -> None:
    region = torch.zeros(6, 6, dtype=torch.bool)
    region[:3] = True
    maps = seeded(50, 6, 6) * (1 + 0.5 * region)
    sharp = sharpened(maps, 3)
    order = [map.abs().flatten(1).argsort(1) for map in (maps, sharp)]
    assert torch.equal(*order)
    assert torch.equal(maps.sign(), sharp.sign())
    assert float(clean_score(sharp, region).mean()) > float(clean_score(maps, region).mean()) + 0.1
    assert sharpened(torch.zeros(1, 2), 2).tolist() == [[0, 0]]


@pytest.mark.parametrize(
    ("maps", "region", "error", "message"),
    [
        (torch.ones(2, 3), torch.ones(3), TypeError, "must be boolean"),
        (torch.ones(3), torch.ones(3).bool(), ValueError, r"must be \[B, ...\]"),
        (torch.ones(2, 3), torch.ones(4).bool(), ValueError, r"region is \[4\]"),
        (torch.ones(2, 3), torch.zeros(3).bool(), ValueError, "region is empty"),
        (torch.ones(2, 3), torch.ones(3).bool(), ValueError, "or everything"),
        (torch.tensor([[1.0, torch.nan]]), torch.tensor([True, False]), ValueError, "hold NaN"),
    ],
)
def test_bad_arguments_are_refused(
    maps: Tensor, region: Tensor, error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        clean_score(maps, region)


@pytest.mark.parametrize("power", [0, -1, float("nan")])
def test_a_power_must_be_positive(power: Any) -> None:
    with pytest.raises(ValueError, match="it must be positive"):
        sharpened(torch.ones(1, 2), power)
