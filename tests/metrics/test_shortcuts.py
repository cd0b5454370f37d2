from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.utils.data import TensorDataset

from captum_tfa.metrics.shortcuts import (
    corner_square,
    paint_region,
    patch_attribution,
    some_of_class,
)

RED = torch.tensor([255, 0, 0])


def test_the_square_is_in_the_lower_right_corner() -> None:
    region = corner_square(4, 6, 2)
    assert region.nonzero().tolist() == [[2, 4], [2, 5], [3, 4], [3, 5]]


@settings(deadline=None)
@given(
    labels=st.lists(st.integers(0, 2), min_size=1, max_size=60).map(torch.tensor),
    smaller=st.floats(0, 1),
    larger=st.floats(0, 1),
    seed=st.integers(0, 5),
)
def test_a_larger_fraction_of_a_class_holds_the_smaller(
    labels: Tensor, smaller: float, larger: float, seed: int
) -> None:
    chosen = int(labels[0])
    smaller, larger = sorted([smaller, larger])
    few = some_of_class(labels, chosen, smaller, seed)
    many = some_of_class(labels, chosen, larger, seed)
    members = int((labels == chosen).sum())
    assert int(few.sum()) == int(smaller * members + 0.5)
    assert not (few & ~many).any()
    assert bool((labels[many] == chosen).all())


def test_the_seed_decides_who_gets_the_square() -> None:
    labels = torch.zeros(100)
    first, second = (some_of_class(labels, 0, 0.5, seed) for seed in (0, 1))
    assert torch.equal(first, some_of_class(labels, 0, 0.5, seed=0))
    assert not torch.equal(first, second)


def test_only_the_region_of_the_chosen_images_is_painted() -> None:
    images = torch.randint(1, 255, (3, 3, 5, 5), dtype=torch.uint8)
    before = images.clone()
    region = corner_square(5, 5, 2)
    painted = paint_region(images, torch.tensor([False, True, False]), region, RED)
    assert painted.dtype == torch.uint8
    assert torch.equal(images, before)
    assert torch.equal(painted[[0, 2]], images[[0, 2]])
    assert torch.equal(painted[1][:, ~region], images[1][:, ~region])
    assert bool((painted[1][:, region] == RED[:, None]).all())


# ---- patch attribution: a linear model, whose scores have a closed form ----

SQUARE = corner_square(5, 5, 2)  # 4 of 25 pixels; the top 10 % is 3 pixels (2.5, rounded)


def linear_case() -> tuple[nn.Module, Tensor, Tensor, Tensor, Tensor]:
    """A model, training images (the last three of class 0 carry the square), and tests."""
    generator = torch.Generator().manual_seed(0)
    model = nn.Sequential(nn.Flatten(), nn.Linear(25, 2, bias=False)).double().eval()
    nn.init.normal_(model[1].weight, std=0.1, generator=generator)
    images = 0.1 * torch.randn(12, 1, 5, 5, dtype=torch.double, generator=generator)
    labels = torch.tensor([0, 1] * 6)
    carries = torch.zeros(12, dtype=torch.bool)
    carries[[6, 8, 10]] = True
    colour = torch.ones(1)
    images = paint_region(images, carries, SQUARE, colour)
    tests = 0.1 * torch.randn(2, 1, 5, 5, dtype=torch.double, generator=generator)
    tests = paint_region(tests, torch.ones(2, dtype=torch.bool), SQUARE, colour)
    return model, images, labels, tests, torch.tensor([1, 1])


def closed_form(model: nn.Module, x: Tensor, y: Tensor, tests: Tensor, t: Tensor) -> Tensor:
    """``cos(p − y, p' − y') · cos(x, x')``: the gradient of a linear model is an outer product."""

    def factors(images: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        residual = model(images).softmax(1) - nn.functional.one_hot(labels, 2)
        return nn.functional.normalize(residual), nn.functional.normalize(images.flatten(1))

    (a, b), (c, d) = factors(tests, t), factors(x, y)
    return (a @ c.T) * (b @ d.T)


def test_opponents_are_the_lowest_scores_of_the_closed_form() -> None:
    model, x, y, tests, t = linear_case()
    found = patch_attribution(
        model, TensorDataset(x, y), tests, t, SQUARE, lambda *a: {"": a[0].abs().sum(1)}, k=3
    )
    scores = closed_form(model, x, y, tests, t)
    wanted = scores.sort(dim=1)
    assert torch.equal(found.opponents, wanted.indices[:, :3])
    torch.testing.assert_close(found.scores, wanted.values[:, :3].detach())
    assert sorted(found.opponents[0].tolist()) == [6, 8, 10]  # those that carry the square


def test_shares_are_those_of_each_saliency_for_each_pair() -> None:
    model, x, y, tests, t = linear_case()
    seen = []

    def saliencies(images: Tensor, labels: Tensor, test: Tensor, label: Tensor) -> dict:
        seen.append((images, labels, test, label))
        inside = SQUARE.double().expand(len(images), 5, 5)
        by_rank = torch.zeros(len(images), 5, 5)
        by_rank[0] = inside[0]  # the first opponent's map is right, the others' know nothing
        return {"right": inside, "wrong": 1 - inside, "first only": by_rank}

    found = patch_attribution(model, TensorDataset(x, y), tests, t, SQUARE, saliencies, k=4)
    assert torch.equal(found.shares["right"], torch.ones(2, 4).double())
    assert torch.equal(found.shares["wrong"], torch.zeros(2, 4).double())
    chance = 4 / 25
    wanted = torch.tensor([[1, chance, chance, chance]] * 2).double()
    torch.testing.assert_close(found.shares["first only"], wanted)
    for row, (images, labels, test, label) in enumerate(seen):
        assert torch.equal(images, x[found.opponents[row]])
        assert torch.equal(labels, y[found.opponents[row]])
        assert torch.equal(test, tests[row : row + 1])
        assert torch.equal(label, t[row : row + 1])


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: corner_square(4, 4, 5), "side is 5 for images of 4 x 4"),
        (lambda: corner_square(4, 4, 0), "side is 0"),
        (lambda: some_of_class(torch.tensor([0, 2]), 1, 0.5), r"no label is 1.*\[0, 2\]"),
        (lambda: some_of_class(torch.tensor([0, 2]), 2, 1.5), "fraction is 1.5"),
        (
            lambda: paint_region(
                torch.zeros(3, 4, 4), torch.ones(1) > 0, corner_square(4, 4, 1), RED
            ),
            r"give \[N, C, H, W\]",
        ),
        (
            lambda: paint_region(
                torch.zeros(2, 3, 4, 4), torch.ones(3) > 0, corner_square(4, 4, 1), RED
            ),
            r"which is .* must be boolean, \[2\]",
        ),
        (
            lambda: paint_region(
                torch.zeros(2, 3, 4, 4), torch.ones(2), corner_square(4, 4, 1), RED
            ),
            r"which is torch.float32",
        ),
        (
            lambda: paint_region(
                torch.zeros(2, 3, 4, 4), torch.ones(2) > 0, corner_square(5, 5, 1), RED
            ),
            r"region .* must be boolean, \[4, 4\]",
        ),
        (
            lambda: paint_region(
                torch.zeros(2, 1, 4, 4), torch.ones(2) > 0, corner_square(4, 4, 1), RED
            ),
            r"colour .* must be \[1\]",
        ),
    ],
)
def test_bad_arguments_are_named(call, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        call()


@pytest.mark.parametrize(
    ("saliency", "k", "message"),
    [
        (lambda images: -images.abs().sum(1), 3, "minimum -.*at least 0"),
        (lambda images: images.abs(), 3, r"must be \[3, 5, 5\]"),
        (lambda images: images.abs().sum(1), 13, "k is 13 for 12 training images"),
    ],
)
def test_what_cannot_be_compared_is_refused(saliency, k: int, message: str) -> None:
    model, x, y, tests, t = linear_case()
    with pytest.raises(ValueError, match=message):
        patch_attribution(
            model,
            TensorDataset(x, y),
            tests,
            t,
            SQUARE,
            lambda images, *_: {"map": saliency(images)},
            k=k,
        )
