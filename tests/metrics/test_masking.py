from __future__ import annotations

import itertools
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.utils.data import TensorDataset

from captum_tfa.metrics.masking import masked, mean_colour, top_mask

SIZES = st.integers(1, 6)


@settings(deadline=None)  # a busy machine is no failure
@given(SIZES, SIZES, st.integers(1, 4), st.floats(0, 1), st.integers(0, 9))
def test_the_mask_is_made_of_whole_cells_the_most_salient_first(
    rows: int, columns: int, block: int, fraction: float, seed: int
) -> None:
    saliency = torch.randn(3, rows * block, columns * block)
    mask = top_mask(saliency, fraction, block, seed)
    means = saliency.double().view(3, rows, block, columns, block).mean(dim=(2, 4)).flatten(1)
    kept = mask.view(3, rows, block, columns, block).double().mean(dim=(2, 4)).flatten(1)
    assert set(kept.flatten().tolist()) <= {0.0, 1.0}
    assert kept.sum(1).tolist() == [int(fraction * rows * columns + 0.5)] * 3
    for values, inside in zip(means, kept.bool(), strict=True):
        if inside.any() and not inside.all():
            assert values[inside].min() >= values[~inside].max()


def test_a_hand_made_case() -> None:
    saliency = torch.tensor([[[4.0, 3.0], [2.0, 1.0]]])
    assert top_mask(saliency, 0.5).tolist() == [[[True, True], [False, False]]]


def test_a_cell_counts_by_its_mean() -> None:
    saliency = torch.zeros(1, 2, 4)
    saliency[0, 0, 0] = 3.0  # the strongest pixel, in the weaker cell
    saliency[0, :, 2:] = 1.0
    mask = top_mask(saliency, 0.5, block=2)
    assert mask[0, :, 2:].all()
    assert not mask[0, :, :2].any()


def test_ties_are_broken_evenly_over_seeds_and_the_same_for_one_seed() -> None:
    flat = torch.zeros(1, 4, 4)
    masks = torch.stack([top_mask(flat, 0.25, seed=seed) for seed in range(400)]).double()
    assert torch.equal(top_mask(flat, 0.25, seed=7), top_mask(flat, 0.25, seed=7))
    # Each pixel is drawn 100 times of 400 on average, with a deviation of 9.
    assert (masks.sum(0) - 100).abs().max() < 45


def test_ties_do_not_displace_what_is_larger() -> None:
    saliency = torch.zeros(1, 5, 5)
    saliency[0, 4, 4] = 1e-30
    assert all(top_mask(saliency, 1 / 25, seed=seed)[0, 4, 4] for seed in range(20))


def test_smaller_masks_lie_inside_larger_ones() -> None:
    saliency = torch.randint(0, 3, (4, 6, 6)).float()
    masks = [top_mask(saliency, fraction) for fraction in (0.0, 0.2, 0.5, 0.9, 1.0)]
    for smaller, larger in itertools.pairwise(masks):
        assert not (smaller & ~larger).any()


def test_the_mask_of_an_image_does_not_depend_on_the_others() -> None:
    saliency = torch.randint(0, 3, (4, 6, 6)).float()
    alone = torch.cat([top_mask(one[None], 0.3) for one in saliency])
    assert torch.equal(top_mask(saliency, 0.3), alone)


def test_the_global_random_state_is_not_touched() -> None:
    before = torch.get_rng_state()
    top_mask(torch.zeros(1, 3, 3), 0.5)
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize(
    ("saliency", "fraction", "block", "message"),
    [
        (torch.zeros(4, 4), 0.5, 1, r"it must be \[B, H, W\]"),
        (torch.full((1, 4, 4), float("nan")), 0.5, 1, "NaN or infinity"),
        (torch.zeros(1, 4, 4), 1.5, 1, "fraction is 1.5"),
        (torch.zeros(1, 4, 4), -0.1, 1, "fraction is -0.1"),
        (torch.zeros(1, 4, 4), 0.5, 3, "block is 3 for images of 4 x 4"),
        (torch.zeros(1, 4, 4), 0.5, 0, "block is 0"),
    ],
)
def test_bad_arguments_are_named(
    saliency: Tensor, fraction: float, block: int, message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        top_mask(saliency, fraction, block)


def test_mean_colour_of_a_tensor_and_of_a_data_set() -> None:
    images = torch.randn(5, 3, 4, 6)
    expected = images.mean(dim=(0, 2, 3))
    torch.testing.assert_close(mean_colour(images), expected)
    torch.testing.assert_close(mean_colour(TensorDataset(images, torch.arange(5))), expected)


def test_mean_colour_weighs_every_pixel_alike() -> None:
    class TwoSizes:
        def __len__(self) -> int:
            return 2

        def __getitem__(self, index: int) -> tuple[Tensor, int]:
            return torch.full((1, 1 + 2 * index, 1), float(index)), 0

    dataset: Any = TwoSizes()
    assert mean_colour(dataset).tolist() == [0.75]


@pytest.mark.parametrize(
    ("images", "error", "message"),
    [
        (torch.zeros(3, 4, 4), ValueError, r"give \[N, C, H, W\]"),
        (torch.zeros(0, 3, 4, 4), ValueError, "N at least 1"),
        (torch.zeros(1, 3, 4, 4, dtype=torch.uint8), TypeError, "torch.uint8"),
        (TensorDataset(torch.zeros(0, 3, 4, 4)), ValueError, "the data set is empty"),
        ([("picture", 0)], TypeError, "an image is str"),
    ],
)
def test_mean_colour_says_what_it_needs(images: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        mean_colour(images)


@pytest.mark.parametrize("shape", [(2,), (2, 3, 3), (4, 2, 3, 3)])
def test_masked_pixels_become_the_baseline_and_others_stay(shape: tuple[int, ...]) -> None:
    images, baseline = torch.randn(4, 2, 3, 3), torch.randn(shape)
    keep = torch.rand(4, 3, 3) > 0.5
    found = masked(images, keep, baseline)
    whole = baseline.view(-1, 1, 1) if len(shape) == 1 else baseline
    whole = whole.expand_as(images)
    for image, channel, row, column in torch.cartesian_prod(*map(torch.arange, images.shape)):
        source = images if keep[image, row, column] else whole
        place = (image, channel, row, column)
        assert found[place] == source[place]


@pytest.mark.parametrize(
    ("images", "keep", "baseline", "message"),
    [
        (torch.zeros(3, 4, 4), torch.ones(3, 4, 4) > 0, torch.zeros(3), r"give \[B, C, H, W\]"),
        (torch.zeros(1, 3, 4, 4), torch.ones(1, 4, 4), torch.zeros(3), "it must be boolean"),
        (torch.zeros(2, 3, 4, 4), torch.ones(1, 4, 4) > 0, torch.zeros(3), r"\[2, 4, 4\]"),
        (torch.zeros(1, 3, 4, 4), torch.ones(1, 4, 4) > 0, torch.zeros(2), r"\[3\] \(a colour\)"),
    ],
)
def test_masked_names_bad_arguments(
    images: Tensor, keep: Tensor, baseline: Tensor, message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        masked(images, keep, baseline)
