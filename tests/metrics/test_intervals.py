from __future__ import annotations

import math

import numpy as np
import pytest
import scipy.stats
import torch
from hypothesis import given
from hypothesis import strategies as st

from captum_tfa.metrics.intervals import Interval, bootstrap_interval, normal_interval


@given(st.lists(st.floats(-100, 100), min_size=2, max_size=30))
def test_the_normal_interval_is_scipys(values: list[float]) -> None:
    found = normal_interval(torch.tensor(values, dtype=torch.double))
    mean, error = np.mean(values), scipy.stats.sem(values)
    low, high = mean + error * scipy.stats.norm.ppf([0.025, 0.975])
    assert found == pytest.approx((mean, low, high), rel=1e-5, abs=1e-9)


def test_one_value_has_no_interval() -> None:
    for found in (normal_interval(torch.ones(1)), bootstrap_interval(lambda _: 1.0, 1)):
        assert found.mean == 1.0
        assert math.isnan(found.low)
        assert math.isnan(found.high)


def test_the_bootstrap_of_a_mean_is_scipys_up_to_the_draws() -> None:
    values = torch.randn(40, generator=torch.Generator().manual_seed(1)).double().exp()
    ours = bootstrap_interval(lambda rows: float(values[rows].mean()), 40, draws=4000)
    theirs = scipy.stats.bootstrap(
        (values.numpy(),), np.mean, n_resamples=4000, method="percentile", rng=0
    ).confidence_interval
    assert ours.mean == pytest.approx(float(values.mean()))
    width = theirs.high - theirs.low
    assert ours.low == pytest.approx(theirs.low, abs=0.05 * width)
    assert ours.high == pytest.approx(theirs.high, abs=0.05 * width)


def test_the_bootstrap_leaves_draws_without_a_number_out() -> None:
    def at_least_two_kinds(rows: torch.Tensor) -> float:
        return 1.0 if len(rows.unique()) > 2 else math.nan

    assert bootstrap_interval(at_least_two_kinds, 5) == Interval(1.0, 1.0, 1.0)
    assert math.isnan(bootstrap_interval(lambda rows: math.nan, 5).low)


def test_the_bootstrap_draws_the_same_for_a_seed() -> None:
    values = torch.randn(9)
    found = [
        bootstrap_interval(lambda rows: float(values[rows].mean()), 9, seed=s) for s in (1, 1, 2)
    ]
    assert found[0] == found[1] != found[2]


def test_it_reads_well() -> None:
    assert str(Interval(0.12345, 0.1, 0.2)) == "0.123 [0.1, 0.2]"


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: normal_interval(torch.empty(0)), "at least one finite number"),
        (lambda: normal_interval(torch.tensor([1.0, torch.inf])), "1 of them not finite"),
        (lambda: normal_interval(torch.ones(2, 2)), r"shape \[2, 2\]"),
        (lambda: bootstrap_interval(lambda _: 1.0, 0), "count is 0"),
        (lambda: bootstrap_interval(lambda _: 1.0, 3, draws=10), "draws 10"),
    ],
)
def test_bad_arguments_are_named(call, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        call()
