from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from captum_tfa.attr import noisy_copies

IMAGE = torch.rand(1, 3, 20, 30, generator=torch.Generator().manual_seed(1)) * 4 - 1


@pytest.mark.parametrize("level", [0.1, 0.3])
def test_deviation_is_a_part_of_the_images_range(level: float) -> None:
    noise = noisy_copies(IMAGE, 200, level) - IMAGE
    spread = level * float(IMAGE.max() - IMAGE.min())
    torch.testing.assert_close(float(noise.std()), spread, rtol=0.01, atol=0)
    assert float(noise.mean().abs()) < 0.01 * spread
    per_copy = noise.flatten(1)
    assert float((per_copy[0] @ per_copy[1]) / per_copy[0].norm() / per_copy[1].norm()) < 0.1


@settings(deadline=None, max_examples=20)
@given(
    shape=st.tuples(st.integers(1, 3), st.integers(1, 5), st.integers(1, 7)),
    count=st.integers(1, 6),
    more=st.integers(0, 4),
)
def test_the_first_copies_are_the_same_however_many_come(
    shape: tuple[int, int, int], count: int, more: int
) -> None:
    image = torch.arange(float(torch.tensor(shape).prod())).view(1, *shape)
    few, many = noisy_copies(image, count, 0.2, 3), noisy_copies(image, count + more, 0.2, 3)
    assert torch.equal(few, many[:count])


def test_levels_share_their_noise_and_seeds_differ() -> None:
    once, twice = (noisy_copies(IMAGE, 3, level) - IMAGE for level in (0.1, 0.2))
    torch.testing.assert_close(2 * once, twice, rtol=1e-4, atol=1e-5)
    assert not torch.equal(noisy_copies(IMAGE, 3, 0.1, seed=1) - IMAGE, once)


def test_global_random_state_is_not_touched_and_the_type_is_the_images() -> None:
    state = torch.get_rng_state()
    found = noisy_copies(IMAGE.double(), 2)
    assert torch.equal(state, torch.get_rng_state())
    assert found.dtype == torch.float64
    assert found.shape == (2, 3, 20, 30)


@pytest.mark.parametrize(
    ("image", "count", "level", "message"),
    [
        (IMAGE, 0, 0.1, "0 noisy copies"),
        (IMAGE, 1.5, 0.1, "1.5 noisy copies"),
        (IMAGE, 1, -0.1, "noise_level is -0.1"),
        (IMAGE, 1, float("inf"), "noise_level is inf"),
        (IMAGE.repeat(2, 1, 1, 1), 1, 0.1, r"give one image, \[1, ...\]"),
        (torch.tensor(1.0), 1, 0.1, "give one image"),
    ],
)
def test_wrong_numbers_are_refused(
    image: torch.Tensor, count: int, level: float, message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        noisy_copies(image, count, level)
