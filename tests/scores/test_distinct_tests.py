"""Equal test examples are found, told by everything in them, bit by bit."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from captum_tfa import GradDotScore
from captum_tfa.scores.distinct_tests import DistinctTests, distinct
from tests.oracle import small_cnn


def test_distinct_tells_rows_apart_by_everything_in_them() -> None:
    images = torch.tensor([[1.0, 2.0], [1.0, 2.0], [2.0, 1.0], [1.0, 2.0], [2.0, 1.0]])
    labels = torch.tensor([0, 0, 0, 1, 0])
    assert distinct([images, labels]) == ([0, 2, 3], [0, 0, 1, 2, 1])
    assert distinct([images]) == ([0, 2], [0, 0, 1, 0, 1])


@settings(deadline=None, max_examples=50)
@given(
    rows=st.lists(st.tuples(st.integers(0, 2), st.integers(0, 1)), min_size=1, max_size=9),
    repeats=st.integers(1, 3),
)
def test_distinct_agrees_with_looking_rows_up_one_by_one(
    rows: list[tuple[int, int]], repeats: int
) -> None:
    repeated = [row for row in rows for _ in range(repeats)]
    images = torch.randn(3, 2, 2)[[image for image, _ in repeated]]
    labels = torch.tensor([label for _, label in repeated])
    seen = list(dict.fromkeys(repeated))
    first, numbers = distinct([images, labels])
    assert first == [repeated.index(row) for row in seen]
    assert numbers == [seen.index(row) for row in repeated]


@pytest.mark.parametrize(
    "dtype",
    [torch.float64, torch.bfloat16, torch.float16, torch.bool, torch.uint8, torch.complex128],
)
def test_distinct_takes_every_dtype_and_expanded_rows(dtype: torch.dtype) -> None:
    row = torch.tensor([[1, 0, 1]]).to(dtype)
    assert distinct([row.expand(5, -1)]) == ([0], [0] * 5)
    assert distinct([row.repeat(3, 1), torch.arange(3)]) == ([0, 1, 2], [0, 1, 2])
    assert distinct([row.expand(3, -1), torch.tensor([1, 1, 2])]) == ([0, 2], [0, 0, 1])


def test_rows_are_compared_by_their_bits() -> None:
    """A number that is none equals itself here, and the two zeros differ."""
    assert distinct([torch.tensor([[torch.nan], [torch.nan]])]) == ([0], [0, 0])
    assert distinct([torch.tensor([[0.0], [-0.0]])]) == ([0, 1], [0, 1])


def test_gradients_are_those_of_the_rows_that_were_asked_for() -> None:
    model = small_cnn().double().eval()
    score = GradDotScore(model)
    images = torch.randn(3, 3, 8, 8, dtype=torch.float64)
    tests = DistinctTests([images[[0, 0, 1, 2, 1]]], torch.tensor([1, 1, 0, 1, 0]))
    assert tests.rows == [0, 0, 1, 2, 1]
    gradients, rows = score.gradients_of(tests, tests.rows[1:4])
    assert rows.tolist() == [0, 1, 2]
    later, rows = score.gradients_of(tests, [2, 1, 2])
    assert rows.tolist() == [0, 1, 0]
    assert sorted(tests.known) == [1, 2]
    alone = score.test_gradients(images[[2, 1]], [1, 0])
    torch.testing.assert_close(later.squares, alone.squares)
    torch.testing.assert_close(gradients.squares[1:].flip(0), alone.squares)
    assert tests.of_another_score().known == {}
