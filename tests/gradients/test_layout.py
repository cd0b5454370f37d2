from __future__ import annotations

import pytest
import torch
from torch import Tensor

from captum_tfa.gradients.layout import Layout, by_example, example_weights, layout_of

BATCH, REPEATS, WIDTH = 3, 2, 4


def _deltas(owner: list[int]) -> tuple[Tensor, Tensor, Tensor]:
    """Deltas of positions with these owners, plain and weighted, and the weights."""
    weights = example_weights(BATCH, torch.zeros((), dtype=torch.float64))
    delta = torch.randn(len(owner), WIDTH, dtype=torch.float64)
    return delta, delta * weights[owner][:, None], weights


def test_each_example_has_a_weight_of_its_own() -> None:
    weights = example_weights(64, torch.zeros(()))
    assert len(set(weights.tolist())) == 64
    assert float(weights.min()) == 1
    assert float(weights.max()) == 2


@pytest.mark.parametrize(
    ("owner", "expected"),
    [
        ([0, 0, 1, 1, 2, 2], Layout.EXAMPLE_FIRST),
        ([0, 1, 2, 0, 1, 2], Layout.EXAMPLE_LAST),
        ([0, 1, 2], Layout.EXAMPLE_FIRST),
        ([0, 0, 0, 1, 1, 2], Layout.SHARED),
        ([2, 1, 0, 2, 1, 0], Layout.SHARED),
        ([0, 0, 1, 2], Layout.SHARED),
    ],
    ids=["first", "last", "one position", "ragged", "permuted", "not a multiple"],
)
def test_layout_is_read_off_the_deltas(owner: list[int], expected: Layout) -> None:
    delta, weighted, weights = _deltas(owner)
    assert layout_of(delta, weighted, weights, leading=1) == (expected, True)


@pytest.mark.parametrize("factor", [0.0, 1e-12])
def test_small_rows_count_as_much_as_large_ones(factor: float) -> None:
    # Rows of zeros say nothing: then nobody may rely on what is found.
    delta, weighted, weights = _deltas([0, 1, 2, 0, 1, 2])
    fitted = torch.tensor([1, factor, factor] * REPEATS, dtype=torch.float64)[:, None]
    layout, certain = layout_of(delta * fitted, weighted * fitted, weights, leading=1)
    assert layout is Layout.EXAMPLE_LAST
    assert certain == (factor > 0)


def test_deltas_of_zero_leave_it_open() -> None:
    nothing = torch.zeros(6, WIDTH, dtype=torch.float64)
    assert not layout_of(nothing, nothing, _deltas([0] * 6)[2], leading=1)[1]


def test_positions_that_both_layouts_give_to_the_same_example_are_no_reason_for_more_passes() -> (
    None
):
    # Of four tokens each, only the first has a delta: position 4 i is of example i either way.
    weights = example_weights(BATCH, torch.zeros((), dtype=torch.float64))
    delta = torch.zeros(4 * BATCH, WIDTH, dtype=torch.float64)
    delta[::4] = torch.randn(BATCH, WIDTH, dtype=torch.float64)
    weighted = delta * weights.repeat_interleave(4)[:, None]
    assert layout_of(delta, weighted, weights, leading=1) == (Layout.EXAMPLE_FIRST, False)


def test_positions_that_several_examples_share_are_shared() -> None:
    weights = example_weights(BATCH, torch.zeros((), dtype=torch.float64))
    parts = torch.randn(BATCH, BATCH, WIDTH, dtype=torch.float64)  # example, position, width
    delta, weighted = parts.sum(0), (parts * weights[:, None, None]).sum(0)
    assert layout_of(delta, weighted, weights, leading=1) == (Layout.SHARED, True)


def test_by_example_gathers_each_examples_positions() -> None:
    owner_first = torch.arange(BATCH).repeat_interleave(REPEATS)
    owner_last = torch.arange(BATCH).repeat(REPEATS)
    for owner, layout in (
        (owner_first, Layout.EXAMPLE_FIRST),
        (owner_last, Layout.EXAMPLE_LAST),
    ):
        tensor = owner[:, None].expand(-1, WIDTH)
        arranged = by_example(tensor, 1, BATCH, layout)
        assert arranged.shape == (BATCH, REPEATS, WIDTH)
        assert bool((arranged == torch.arange(BATCH)[:, None, None]).all())


def test_by_example_takes_several_leading_dimensions() -> None:
    tensor = torch.randn(REPEATS, BATCH, WIDTH)
    arranged = by_example(tensor, 2, BATCH, Layout.EXAMPLE_LAST)
    torch.testing.assert_close(arranged, tensor.transpose(0, 1), rtol=0, atol=0)
