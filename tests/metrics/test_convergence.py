from __future__ import annotations

import math

import pytest
import torch
from captum.attr import NoiseTunnel
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from captum_tfa import TrainingGradCos
from captum_tfa.demo import SmallCNN
from captum_tfa.metrics.convergence import NoiseGrid, noise_grid

IMAGE = torch.randn(1, 3, 8, 8, generator=torch.Generator().manual_seed(7))
RANGE = float(IMAGE.max() - IMAGE.min())  # what a noise level is a part of


def itself(copies: Tensor) -> Tensor:
    """A map whose expectation and variance are known: the image, and σ² a value."""
    return copies


def test_error_of_a_known_map_is_its_closed_form() -> None:
    values, stdevs = IMAGE.numel(), [0.0, 0.5, 2.0]
    levels = [stdev / RANGE for stdev in stdevs]
    grid = noise_grid(itself, IMAGE, levels, [10, 100, 1000])
    torch.testing.assert_close(grid.levels, torch.tensor(levels).double())
    true_length = float((IMAGE**2).sum())
    for level, stdev in enumerate(stdevs):
        assert float(grid.variances[level].sum()) == pytest.approx(values * stdev**2, rel=0.02)
        errors = grid.standard_error()[level, 2]
        torch.testing.assert_close(
            errors.mean(), torch.tensor(stdev / 1000**0.5).double(), rtol=0.02, atol=0
        )
        for row, count in enumerate([10, 100, 1000]):
            expected = math.sqrt(values * stdev**2 / count / true_length)
            assert float(grid.relative_error()[level, row]) == pytest.approx(expected, rel=0.03)
        expected = values * stdev**2 / 0.1**2 / true_length
        assert float(grid.copies_for(0.1)[level]) == pytest.approx(max(1, expected), rel=0.03)


def test_the_cosine_to_the_true_map_is_what_the_error_says() -> None:
    image = torch.randn(1, 3, 32, 32)  # many values, so that chance moves the cosine little
    level = 3 / float(image.max() - image.min())
    grid = noise_grid(itself, image, [level], [4, 400], seed=1)  # seed 0 has made the image
    for row in range(2):
        cosine = torch.cosine_similarity(grid.maps[0, row].flatten(), image.flatten(), dim=0)
        expected = 1 / math.sqrt(1 + float(grid.relative_error()[0, row]) ** 2)
        assert float(cosine) == pytest.approx(expected, abs=0.06)


def test_pure_noise_does_not_look_half_known() -> None:
    grid = noise_grid(lambda copies: copies - IMAGE, IMAGE, [1.0], [50])
    assert float(grid.relative_error()[0, 0]) > 1.5


def test_no_signal_left_takes_infinitely_many_copies() -> None:
    one = torch.ones(1).double()
    grid = NoiseGrid(one, torch.tensor([4]), torch.full((1, 1, 1), 0.4).double(), one.view(1, 1))
    assert grid.relative_error().tolist() == [[math.inf]]
    assert grid.copies_for(0.5).tolist() == [math.inf]


def test_a_map_without_noise_is_exact_also_if_it_is_zero() -> None:
    grid = noise_grid(torch.zeros_like, IMAGE, [0.5], [2])
    assert grid.relative_error().tolist() == [[0.0]]
    assert grid.copies_for(0.1).tolist() == [1.0]


@settings(deadline=None, max_examples=20)
@given(
    batch_size=st.integers(1, 9),
    counts=st.sets(st.integers(1, 12), min_size=1).filter(lambda found: max(found) > 1),
)
def test_means_and_spread_do_not_depend_on_batches(batch_size: int, counts: set[int]) -> None:
    def attribute(copies: Tensor) -> Tensor:
        return copies**3 + 1000  # far from zero, where a careless variance loses its digits

    rising = sorted(counts)
    image = IMAGE.double()
    seen: list[Tensor] = []
    noise_grid(lambda copies: (seen.append(copies), copies)[1], image, [0.3], rising, 1)
    maps = attribute(torch.cat(seen))
    grid = noise_grid(attribute, image, [0.3], rising, batch_size)
    oracle = torch.stack([maps[:count].mean(0) for count in rising])
    torch.testing.assert_close(grid.maps[0], oracle)
    torch.testing.assert_close(grid.variances[0], maps.var(0))


def test_levels_share_their_noise_and_seeds_differ() -> None:

    def noise(copies: Tensor) -> Tensor:
        return copies - IMAGE

    grid = noise_grid(noise, IMAGE, [1.0, 2.0], [3])
    torch.testing.assert_close(2 * grid.maps[0], grid.maps[1], rtol=1e-4, atol=1e-6)
    state = torch.get_rng_state()
    again = noise_grid(noise, IMAGE, [1.0], [3], seed=1)
    assert torch.equal(state, torch.get_rng_state())
    assert not torch.equal(grid.maps[0], again.maps[0])


def test_many_copies_agree_with_captums_noise_tunnel() -> None:
    model = SmallCNN(3).eval()
    image, test = torch.randn(1, 3, 8, 8), torch.randn(1, 3, 8, 8)
    label, tfa = torch.tensor([1]), TrainingGradCos(model)

    def attribute(copies: Tensor) -> Tensor:
        found: Tensor = tfa.attribute(copies, target=label, additional_forward_args=(test, label))
        return found

    level = 0.5 / float(image.max() - image.min())
    grid = noise_grid(attribute, image, [level], [200])
    captums = NoiseTunnel(tfa).attribute(
        image,
        nt_type="smoothgrad",
        nt_samples=200,
        stdevs=0.5,
        target=label,
        additional_forward_args=(test, label),
    )
    distance = (grid.maps[0, 0] - captums[0]).norm()
    expected = math.sqrt(2 * float(grid.variances.sum()) / 200)  # each is off by sqrt(v / n)
    assert float(distance) == pytest.approx(expected, rel=0.3)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"image": torch.zeros(3, 8, 8)}, r"it must be \[1, C, H, W\]"),
        ({"noise_levels": []}, "at least one, none below 0"),
        ({"noise_levels": [-0.1]}, "at least one, none below 0"),
        ({"counts": []}, "give numbers that rise"),
        ({"counts": [1]}, "the last at least 2"),
        ({"counts": [5, 5]}, "give numbers that rise"),
        ({"batch_size": 0}, "batch_size is 0"),
        ({"attribute": lambda copies: copies.sum(0)}, "one finite map a copy"),
        ({"attribute": lambda copies: copies / 0}, "one finite map a copy"),
    ],
)
def test_bad_arguments_are_named(change: dict[str, object], message: str) -> None:
    arguments = {"attribute": itself, "image": IMAGE, "noise_levels": [0.1], "counts": [2]} | change
    with pytest.raises(ValueError, match=message):
        noise_grid(**arguments)  # type: ignore[arg-type]


def test_a_wanted_error_must_be_positive() -> None:
    grid = noise_grid(itself, IMAGE, [0.1], [2])
    with pytest.raises(ValueError, match="relative_error is 0"):
        grid.copies_for(0)
