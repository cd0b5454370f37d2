from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from captum_tfa.metrics.localisation import (
    saliency,
    share_of_positive_inside,
    share_of_top_inside,
)


def corner(size: int, side: int) -> torch.Tensor:
    region = torch.zeros(size, size, dtype=torch.bool)
    region[-side:, -side:] = True
    return region


def test_saliency_sums_magnitudes_over_channels() -> None:
    maps = torch.tensor([[[1.0, -2.0]], [[-3.0, 0.5]]])  # [2, 1, 2]
    assert saliency(maps).tolist() == [[4.0, 2.5]]


def test_saliency_needs_channels() -> None:
    with pytest.raises(ValueError, match=r"\[\.\.\., C, H, W\]"):
        saliency(torch.zeros(3, 3))


def test_all_of_the_top_inside() -> None:
    maps = torch.zeros(3, 10, 10)
    maps[1, -4:, -4:] = -1.0 - torch.rand(4, 4)  # 16 pixels stand out, the top has 10
    assert share_of_top_inside(maps, corner(10, 4)) == 1.0


def test_none_of_the_top_inside() -> None:
    maps = torch.zeros(1, 10, 10)
    maps[0, 0] = 5.0
    assert share_of_top_inside(maps, corner(10, 4)) == 0.0


def test_known_part_of_the_top_inside() -> None:
    maps = torch.arange(100.0).view(1, 10, 10)  # the top ten are the last row
    assert share_of_top_inside(maps, corner(10, 3)) == pytest.approx(0.3)
    assert share_of_top_inside(maps, corner(10, 3), fraction=0.2) == pytest.approx(6 / 20)


def test_sign_does_not_matter() -> None:
    maps = torch.randn(2, 3, 8, 8)
    signs = torch.randint(0, 2, maps.shape) * 2 - 1
    region = corner(8, 3)
    assert torch.equal(share_of_top_inside(maps, region), share_of_top_inside(maps * signs, region))


def test_tied_pixels_share_the_last_places() -> None:
    maps = torch.zeros(1, 2, 10)
    maps[0, 0, 0] = 3.0
    maps[0, :, 6:] = 1.0  # 8 tied pixels for the one place left; 2 of them inside
    region = torch.zeros(2, 10, dtype=torch.bool)
    region[0, 8:] = True
    assert share_of_top_inside(maps, region) == pytest.approx((2 / 8) / 2)


@settings(deadline=None)  # a busy machine is no failure
@given(size=st.integers(2, 12), side=st.integers(1, 12), fraction=st.floats(0.01, 1.0))
def test_a_map_of_zeros_is_at_chance_level(size: int, side: int, fraction: float) -> None:
    region = corner(size, min(side, size))
    share = share_of_top_inside(torch.zeros(3, size, size), region, fraction)
    assert share == pytest.approx(float(region.double().mean()))


def test_the_whole_picture_as_top_gives_the_area() -> None:
    region = corner(9, 4)
    assert share_of_top_inside(torch.randn(3, 9, 9), region, fraction=1.0) == pytest.approx(16 / 81)


def test_a_fraction_below_one_pixel_takes_the_strongest_pixel() -> None:
    maps = torch.zeros(1, 4, 4)
    maps[0, 3, 3] = 1.0
    assert share_of_top_inside(maps, corner(4, 1), fraction=1e-6) == 1.0


def test_a_batch_is_its_maps_one_by_one() -> None:
    maps = torch.randn(5, 3, 8, 8)
    regions = torch.rand(5, 8, 8) > 0.5
    together = share_of_top_inside(maps, regions)
    alone = torch.stack([share_of_top_inside(*pair) for pair in zip(maps, regions, strict=True)])
    assert together.shape == (5,)
    assert torch.equal(together, alone)


@pytest.mark.parametrize(
    ("maps", "region", "fraction", "message"),
    [
        (torch.zeros(8, 8), corner(8, 2), 0.1, "maps has the shape"),
        (torch.zeros(1, 8, 8), corner(8, 2).float(), 0.1, "must be boolean"),
        (torch.zeros(1, 8, 8), corner(9, 2), 0.1, r"must be \[8, 8\]"),
        (torch.zeros(4, 1, 8, 8), torch.ones(3, 8, 8) > 0, 0.1, r"\[4, 8, 8\]"),
        (torch.zeros(1, 8, 8), corner(8, 2), 0.0, "fraction is 0.0"),
        (torch.zeros(1, 8, 8), corner(8, 2), 1.1, "fraction is 1.1"),
        (torch.full((1, 8, 8), float("nan")), corner(8, 2), 0.1, "NaN or infinity"),
    ],
)
def test_bad_arguments_are_named(
    maps: torch.Tensor, region: torch.Tensor, fraction: float, message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        share_of_top_inside(maps, region, fraction)


def test_known_part_of_the_positive_mass_inside() -> None:
    maps = torch.zeros(2, 4, 4)
    maps[:, 3, 3] = torch.tensor([4.0, -1.0])  # 3, inside
    maps[:, 0, 0] = torch.tensor([0.5, 0.5])  # 1, outside
    maps[0, 0, 1] = -9.0  # no positive mass
    region = corner(4, 2)
    assert share_of_positive_inside(maps, region) == 0.75
    assert share_of_positive_inside(-maps, region) == 0.0
    assert share_of_positive_inside(maps.abs(), region) == 5 / 15  # all of saliency's mass


@settings(deadline=None)
@given(height=st.integers(1, 8), width=st.integers(1, 8), channels=st.integers(1, 3))
def test_a_region_and_the_rest_share_the_positive_mass(
    height: int, width: int, channels: int
) -> None:
    maps = torch.randn(4, channels, height, width)
    regions = torch.rand(4, height, width) > 0.5
    share, rest = (share_of_positive_inside(maps, inside) for inside in (regions, ~regions))
    torch.testing.assert_close(share + rest, torch.ones(4).double())


def test_a_map_without_positive_mass_gives_the_area() -> None:
    for maps in (torch.zeros(1, 10, 10), -torch.rand(3, 10, 10)):
        assert share_of_positive_inside(maps, corner(10, 3)) == pytest.approx(0.09)


def test_positive_mass_of_a_batch_is_that_of_its_maps() -> None:
    maps, regions = torch.randn(5, 3, 8, 8), torch.rand(5, 8, 8) > 0.5
    alone = [share_of_positive_inside(*pair) for pair in zip(maps, regions, strict=True)]
    assert torch.equal(share_of_positive_inside(maps, regions), torch.stack(alone))


@pytest.mark.parametrize(
    ("maps", "region", "message"),
    [
        (torch.zeros(8, 8), corner(8, 2), "maps has the shape"),
        (torch.zeros(1, 8, 8), corner(8, 2).float(), "must be boolean"),
        (torch.zeros(1, 8, 8), corner(9, 2), r"must be \[8, 8\]"),
        (torch.full((1, 8, 8), float("inf")), corner(8, 2), "NaN or infinity"),
    ],
)
def test_bad_arguments_of_the_positive_mass_are_named(
    maps: torch.Tensor, region: torch.Tensor, message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        share_of_positive_inside(maps, region)
