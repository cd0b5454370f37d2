from __future__ import annotations

import math

import numpy
import pytest
import scipy.stats
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from captum_tfa.metrics.paired import paired_difference


@settings(deadline=None)  # a busy machine is no failure
@given(st.lists(st.tuples(st.floats(-5, 5), st.floats(-5, 5)), min_size=2, max_size=30))
def test_all_numbers_are_those_of_numpy(pairs: list[tuple[float, float]]) -> None:
    treated, control = torch.tensor(pairs, dtype=torch.float64).T
    found = paired_difference(treated, control)
    gaps = (treated - control).numpy()
    half = scipy.stats.norm.ppf(0.975) * numpy.std(gaps, ddof=1) / math.sqrt(len(gaps))
    assert found.mean == pytest.approx(gaps.mean())
    assert found.low == pytest.approx(gaps.mean() - half)
    assert found.high == pytest.approx(gaps.mean() + half)
    assert found.median == pytest.approx(numpy.median(gaps))
    assert found.won == pytest.approx(((gaps < 0) + 0.5 * (gaps == 0)).mean())
    assert found.pairs == len(gaps)


def test_the_interval_covers_the_truth_in_95_of_100_cases() -> None:
    truth, covered = 0.3, 0
    for _ in range(1000):
        found = paired_difference(truth + torch.randn(60), torch.zeros(60))
        covered += found.low <= truth <= found.high
    assert 0.92 < covered / 1000 < 0.98  # a deviation of 0.007


def test_equal_sides_differ_by_exactly_nothing() -> None:
    values = torch.randn(7)
    found = paired_difference(values, values)
    assert (found.mean, found.low, found.high, found.median, found.won) == (0, 0, 0, 0, 0.5)


def test_who_wins_depends_on_what_is_better() -> None:
    low, high = torch.tensor([0.0, 1.0, 2.0, 5.0]), torch.tensor([1.0, 2.0, 3.0, 5.0])
    assert paired_difference(low, high).won == 0.875
    assert paired_difference(low, high, lower_is_better=False).won == 0.125
    assert paired_difference(low, high).mean == paired_difference(low, high, False).mean == -0.75


def test_float32_values_are_subtracted_in_float64() -> None:
    treated, control = torch.tensor([1.0, 1e8]), torch.tensor([0.0, 0.0])
    assert paired_difference(treated, control).mean == (1 + 1e8) / 2


def test_one_pair_has_no_interval() -> None:
    found = paired_difference(torch.tensor([1.0]), torch.tensor([3.0]))
    assert (found.mean, found.median, found.won, found.pairs) == (-2, -2, 1, 1)
    assert math.isnan(found.low)
    assert math.isnan(found.high)


def test_it_reads_well() -> None:
    shown = str(paired_difference(torch.tensor([1.0, 2.0]), torch.tensor([2.0, 3.0])))
    assert shown == "-1 [-1, -1], median -1, won 100% of 2"


@pytest.mark.parametrize(
    ("treated", "control", "message"),
    [
        (torch.zeros(2, 3), torch.zeros(2, 3), r"both must be \[P\]"),
        (torch.zeros(2), torch.zeros(3), r"control \[3\]"),
        (torch.zeros(0), torch.zeros(0), "P at least 1"),
        (torch.tensor([1.0, float("nan")]), torch.zeros(2), "1 of 2 pairs are not finite"),
    ],
)
def test_bad_arguments_are_named(treated: Tensor, control: Tensor, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        paired_difference(treated, control)
