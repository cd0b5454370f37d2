from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import scipy.stats
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from skimage.metrics import structural_similarity

from captum_tfa.metrics.similarity import compare_maps, spearman, ssim


@settings(deadline=None)
@given(size=st.integers(3, 40), levels=st.integers(2, 30), seed=st.integers(0, 1000))
def test_spearman_is_scipys_with_and_without_ties(size: int, levels: int, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    first = torch.randint(levels, (3, size), generator=generator).float()
    second = torch.randint(levels, (3, size), generator=generator).float()
    first[:, 0], first[:, 1], second[:, 0], second[:, 2] = -1, -2, -1, -2  # an order, always
    found = spearman(first, second)
    for row in range(3):
        oracle = scipy.stats.spearmanr(first[row], second[row]).statistic
        assert float(found[row]) == pytest.approx(oracle, abs=1e-12)


def test_spearman_sees_the_order_only() -> None:
    maps = torch.rand(2, 3, 5, 5)
    torch.testing.assert_close(spearman(maps, maps.exp()), torch.ones(2).double())
    torch.testing.assert_close(spearman(maps, -(maps**3)), -torch.ones(2).double())


def test_a_map_without_an_order_has_no_rank_correlation() -> None:
    assert spearman(torch.zeros(1, 9), torch.rand(1, 9)).isnan().all()


@settings(deadline=None, max_examples=25)
@given(
    height=st.integers(11, 30),
    width=st.integers(11, 30),
    data_range=st.floats(0.1, 10),
    blend=st.floats(0, 1),
)
def test_ssim_is_scikit_images(height: int, width: int, data_range: float, blend: float) -> None:
    first = torch.rand(2, height, width, dtype=torch.double) * data_range
    second = blend * first + (1 - blend) * torch.rand(2, height, width).double() * data_range
    found = ssim(first, second, data_range)
    for row in range(2):
        oracle = structural_similarity(
            np.asarray(first[row]),
            np.asarray(second[row]),
            data_range=data_range,
            gaussian_weights=True,
            sigma=1.5,
            use_sample_covariance=False,
        )
        assert float(found[row]) == pytest.approx(oracle, abs=1e-9)


def test_ssim_of_two_flat_pictures_is_its_closed_form() -> None:
    dark, light = torch.full((1, 12, 12), 0.2), torch.full((1, 12, 12), 0.6)
    expected = (2 * 0.2 * 0.6 + 1e-4) / (0.2**2 + 0.6**2 + 1e-4)
    assert float(ssim(dark, light)) == pytest.approx(expected, rel=1e-6)


def test_a_map_is_most_like_itself() -> None:
    maps = torch.randn(4, 3, 16, 16)
    same = compare_maps(maps, maps)
    for numbers in (same.rank, same.rank_absolute, same.ssim):
        torch.testing.assert_close(numbers, torch.ones(4).double())


def test_a_map_with_all_signs_turned_differs_by_its_signed_ranks_only() -> None:
    maps = torch.randn(4, 3, 16, 16)
    turned = compare_maps(-maps, maps)
    torch.testing.assert_close(turned.rank, -torch.ones(4).double())
    torch.testing.assert_close(turned.rank_absolute, torch.ones(4).double())
    torch.testing.assert_close(turned.ssim, torch.ones(4).double())


def test_the_scale_of_a_map_does_not_count() -> None:
    maps, references = torch.randn(2, 3, 16, 16), torch.randn(2, 3, 16, 16)
    plain, scaled = compare_maps(maps, references), compare_maps(1e-6 * maps, references)
    torch.testing.assert_close(plain.rank, scaled.rank)
    torch.testing.assert_close(plain.ssim, scaled.ssim)


def test_unrelated_maps_are_unlike() -> None:
    found = compare_maps(torch.randn(50, 3, 16, 16), torch.randn(50, 3, 16, 16))
    assert abs(float(found.rank.mean())) < 0.02
    assert abs(float(found.rank_absolute.mean())) < 0.04
    assert float(found.ssim.mean()) < 0.2


def test_a_map_of_zeros_compares_without_a_division_by_zero() -> None:
    found = compare_maps(torch.zeros(1, 3, 16, 16), torch.randn(1, 3, 16, 16))
    assert found.rank.isnan().all()
    assert found.ssim.isfinite().all()


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: spearman(torch.zeros(2, 3), torch.zeros(2, 4)), r"must be the same \[B, \.\.\.\]"),
        (lambda: spearman(torch.zeros(3), torch.zeros(3)), r"must be the same \[B, \.\.\.\]"),
        (lambda: spearman(torch.zeros(2, 1), torch.zeros(2, 1)), "at least two"),
        (lambda: spearman(torch.zeros(1, 2), torch.tensor([[0, torch.nan]])), "NaN or infinity"),
        (lambda: ssim(torch.zeros(16, 16), torch.zeros(16, 16)), r"same \[B, H, W\]"),
        (lambda: ssim(torch.zeros(1, 10, 16), torch.zeros(1, 10, 16)), "at least 11 x 11"),
        (lambda: ssim(torch.zeros(1, 16, 16), torch.zeros(1, 16, 16), 0.0), "data_range is 0.0"),
        (lambda: compare_maps(torch.zeros(1, 16, 16), torch.zeros(1, 16, 16)), r"\[B, C, H, W\]"),
    ],
)
def test_bad_arguments_are_named(call: Callable[[], object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        call()
