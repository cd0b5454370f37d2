"""Known answers: an additive outcome is predicted perfectly, its negative the other way round."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import scipy.stats
import torch
from hypothesis import given
from hypothesis import strategies as st

from captum_tfa.metrics.datamodelling import linear_datamodelling_score
from captum_tfa.metrics.similarity import spearman
from captum_tfa.metrics.subsets import Retrained, leave_groups_out, random_subsets, retrain_subsets
from tests.metrics.trainings import COUNT, QUERIES, additive, numbered, what_it_says

PARTS = torch.randn(QUERIES, COUNT, generator=torch.Generator().manual_seed(0)).double()


def noisy(subsets: int, noise: float, seed: int = 0, count: int = COUNT) -> Retrained:
    """Additive outcomes with noise, one seed a subset."""
    generator = torch.Generator().manual_seed(seed)
    members = random_subsets(count, subsets, seed=seed)
    parts = torch.randn(QUERIES, count, generator=torch.Generator().manual_seed(0)).double()
    outputs = members.double() @ parts.T
    outputs += noise * torch.randn(outputs.shape, generator=generator, dtype=torch.double)
    return Retrained(members, torch.zeros(subsets, dtype=torch.long), outputs)


def test_an_additive_outcome_is_predicted_perfectly(tmp_path: Path) -> None:
    halves = random_subsets(COUNT, 20)
    retrained = retrain_subsets(additive(PARTS), numbered(), halves, what_it_says, tmp_path)
    found = linear_datamodelling_score(PARTS, retrained)
    assert found.mean == pytest.approx(1)
    assert found.per_query.tolist() == pytest.approx([1] * QUERIES)
    assert tuple(found.over_subsets) == pytest.approx((1, 1, 1))
    assert linear_datamodelling_score(-PARTS, retrained).mean == pytest.approx(-1)
    scaled = linear_datamodelling_score(7 * PARTS + 3, retrained)
    assert scaled.mean == pytest.approx(1)  # all subsets are of one size


@given(st.integers(0, 99))
def test_each_query_is_scipys_spearman(seed: int) -> None:
    retrained = noisy(9, 2.0, seed)
    scores = torch.randn(QUERIES, COUNT).double()
    found = linear_datamodelling_score(scores, retrained)
    members, outputs = retrained.over_seeds()
    for query in range(QUERIES):
        sums = [float(scores[query][row].sum()) for row in members]
        wanted = scipy.stats.spearmanr(sums, outputs[:, query]).statistic
        assert float(found.per_query[query]) == pytest.approx(wanted, abs=1e-9)
    assert found.mean == pytest.approx(float(found.per_query.mean()))
    assert found.subsets == len(members)  # of so few examples two halves may be the same


def test_seeds_of_a_subset_are_averaged_first() -> None:
    once = noisy(8, 0.0)
    shift = torch.randn(8, QUERIES).double() * 10
    twice = Retrained(
        once.members.repeat(2, 1),
        torch.arange(2).repeat_interleave(8),
        torch.cat([once.outputs + shift, once.outputs - shift]),
    )
    found = linear_datamodelling_score(PARTS, twice)
    assert found.subsets == 8
    assert found.mean == pytest.approx(1)


@pytest.mark.parametrize("shift", [0.0, 5.0, -5.0])
def test_leaving_out_is_ranked_whatever_all_scores_have_in_common(shift: float) -> None:
    members = leave_groups_out(COUNT, torch.arange(COUNT).split(1))
    outputs = members.double() @ PARTS.T
    retrained = Retrained(members, torch.zeros(len(members)), outputs)
    found = linear_datamodelling_score(PARTS + shift, retrained)
    assert found.mean == pytest.approx(1)
    assert found.subsets == COUNT  # the model of everything is no part


@pytest.mark.parametrize("value", [0.0, 0.1, 1e-30, 1e20])
def test_a_score_that_says_the_same_of_all_subsets_counts_as_nothing_known(value: float) -> None:
    scores = torch.full_like(PARTS, value)
    scores[0] = PARTS[0]
    found = linear_datamodelling_score(scores, noisy(20, 0.0))
    assert found.silent == QUERIES - 1
    assert found.per_query.tolist() == pytest.approx([1.0] + [0.0] * (QUERIES - 1))


def test_intervals_over_subsets_hold_the_truth_about_as_often_as_they_say() -> None:
    def with_noise(subsets: int, seed: int) -> Retrained:
        return noisy(subsets, noise=3.0, seed=seed, count=30)

    scores = torch.randn(QUERIES, 30, generator=torch.Generator().manual_seed(0)).double()
    members, outputs = with_noise(20000, 999).over_seeds()
    truth = float(spearman(scores @ members.double().T, outputs.T).mean())
    assert 0.4 < truth < 0.9
    held = []
    for seed in range(100):
        found = linear_datamodelling_score(scores, with_noise(40, seed))
        held.append(found.over_subsets.low <= truth <= found.over_subsets.high)
    assert np.mean(held) >= 0.89


def test_the_interval_over_queries_is_that_of_a_mean() -> None:
    found = linear_datamodelling_score(torch.randn_like(PARTS), noisy(15, 1.0))
    low, high = scipy.stats.norm.interval(
        0.95, found.mean, scipy.stats.sem(found.per_query.numpy())
    )
    assert found.over_queries[1:] == pytest.approx((low, high), rel=1e-5)
    assert f"over {found.subsets} subsets" in str(found)


@pytest.mark.parametrize(
    ("scores", "retrained", "message"),
    [
        (PARTS.T, noisy(5, 1.0), r"scores have the shape \[12, 5\]; .* give \[5, 12\]"),
        (torch.full_like(PARTS, torch.nan), noisy(5, 1.0), "NaN or infinity"),
        (PARTS, noisy(2, 1.0), "there are 2 subsets"),
        (
            PARTS,
            Retrained(random_subsets(COUNT, 5), torch.zeros(5), torch.ones(5, QUERIES)),
            "the same of 5 queries, the first of them 0",
        ),
    ],
)
def test_what_has_no_answer_is_refused(scores, retrained, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        linear_datamodelling_score(scores, retrained)
