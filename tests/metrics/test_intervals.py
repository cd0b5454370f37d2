from __future__ import annotations

import math

import numpy as np
import pytest
import scipy.stats
import torch
from hypothesis import given
from hypothesis import strategies as st

from captum_tfa.metrics.intervals import Interval, jackknife_interval, normal_interval


@given(st.lists(st.floats(-100, 100), min_size=2, max_size=30))
def test_the_normal_interval_is_scipys(values: list[float]) -> None:
    found = normal_interval(torch.tensor(values, dtype=torch.double))
    mean, error = np.mean(values), scipy.stats.sem(values)
    low, high = mean + error * scipy.stats.norm.ppf([0.025, 0.975])
    assert found == pytest.approx((mean, low, high), rel=1e-5, abs=1e-9)


def test_one_value_has_no_interval() -> None:
    for found in (normal_interval(torch.ones(1)), jackknife_interval(lambda _: 1.0, 1)):
        assert found.mean == 1.0
        assert math.isnan(found.low)
        assert math.isnan(found.high)


@given(st.lists(st.floats(-100, 100), min_size=2, max_size=30))
def test_the_jackknife_of_a_mean_is_the_normal_interval(values: list[float]) -> None:
    numbers = torch.tensor(values, dtype=torch.double)
    found = jackknife_interval(lambda rows: float(numbers[rows].mean()), len(values))
    assert found == pytest.approx(normal_interval(numbers), rel=1e-6, abs=1e-6)


def test_the_jackknife_of_a_correlation_is_near_fishers() -> None:
    x, noise = torch.randn(2, 400, generator=torch.Generator().manual_seed(0)).double()
    y = x + noise

    def correlation(rows: torch.Tensor) -> float:
        return float(torch.corrcoef(torch.stack([x[rows], y[rows]]))[0, 1])

    found = jackknife_interval(correlation, 400)
    theirs = scipy.stats.pearsonr(x, y).confidence_interval()
    width = theirs.high - theirs.low
    assert found.low == pytest.approx(theirs.low, abs=0.15 * width)
    assert found.high == pytest.approx(theirs.high, abs=0.15 * width)


def test_it_reads_well() -> None:
    assert str(Interval(0.12345, 0.1, 0.2)) == "0.123 [0.1, 0.2]"


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: normal_interval(torch.empty(0)), "at least one finite number"),
        (lambda: normal_interval(torch.tensor([1.0, torch.inf])), "1 of them not finite"),
        (lambda: normal_interval(torch.ones(2, 2)), r"shape \[2, 2\]"),
        (lambda: jackknife_interval(lambda _: 1.0, 0), "count is 0"),
        (lambda: jackknife_interval(lambda _: math.nan, 3), "without some of the 3 parts"),
    ],
)
def test_bad_arguments_are_named(call, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        call()
