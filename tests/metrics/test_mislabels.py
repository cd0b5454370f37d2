from __future__ import annotations

import itertools

import numpy as np
import pytest
import scipy.stats
import torch
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import roc_auc_score

from captum_tfa.metrics.mislabels import mislabel_detection

LABELLED = st.lists(st.tuples(st.integers(-3, 3), st.booleans()), min_size=2, max_size=40).filter(
    lambda rows: len({wrong for _, wrong in rows}) == 2
)


@given(LABELLED)
def test_the_area_is_sklearns_with_ties(rows: list[tuple[int, bool]]) -> None:
    suspicion = torch.tensor([float(value) for value, _ in rows])
    wrong = torch.tensor([bad for _, bad in rows])
    found = mislabel_detection(suspicion, wrong)
    assert found.auc.mean == pytest.approx(roc_auc_score(wrong, suspicion))


@given(st.lists(st.tuples(st.integers(0, 2), st.booleans()), min_size=2, max_size=6))
def test_recall_with_ties_is_the_mean_over_all_orders(rows: list[tuple[int, bool]]) -> None:
    if len({bad for _, bad in rows}) < 2:
        return
    share = 0.4
    looked_at = int(share * len(rows) + 0.5)
    recalls = []
    for order in itertools.permutations(rows):
        ranked = sorted(order, key=lambda row: -row[0])  # stable: keeps the order of ties
        recalls.append(sum(bad for _, bad in ranked[:looked_at]))
    wanted = np.mean(recalls) / sum(bad for _, bad in rows)
    found = mislabel_detection(
        torch.tensor([float(value) for value, _ in rows]),
        torch.tensor([bad for _, bad in rows]),
        shares=(share,),
    )
    assert found.recall[share].mean == pytest.approx(wanted)


def test_a_perfect_suspicion_finds_all_first() -> None:
    wrong = torch.arange(100) < 10
    found = mislabel_detection(wrong.double() + 0.01 * torch.rand(100), wrong)
    assert found.auc == (1.0, 1.0, 1.0)
    assert found.recall[0.1].mean == found.recall[0.2].mean == 1.0
    halved = mislabel_detection(wrong.double() + 0.01 * torch.rand(100), wrong, shares=(0.05,))
    assert halved.recall[0.05].mean == 0.5
    assert mislabel_detection(-wrong.double(), wrong).auc.mean == 0.0


def test_the_interval_of_the_area_is_delongs_slow_twin() -> None:
    generator = torch.Generator().manual_seed(0)
    wrong = torch.rand(60, generator=generator) < 0.3
    suspicion = torch.randn(60, generator=generator).double() + wrong
    suspicion = (2 * suspicion).round()  # ties
    ours = mislabel_detection(suspicion, wrong).auc
    a, b = suspicion[wrong].tolist(), suspicion[~wrong].tolist()
    psi = np.array([[(x > y) + 0.5 * (x == y) for y in b] for x in a])
    variance = psi.mean(1).var(ddof=1) / len(a) + psi.mean(0).var(ddof=1) / len(b)
    half = 1.959964 * variance**0.5
    assert tuple(ours) == pytest.approx((psi.mean(), psi.mean() - half, psi.mean() + half))


def test_the_interval_of_the_recall_is_wilsons() -> None:
    wrong = torch.arange(100) < 25
    suspicion = -torch.arange(100).double().roll(8)
    found = mislabel_detection(suspicion, wrong, shares=(0.2,)).recall[0.2]
    hits = int(wrong[suspicion.argsort(descending=True)[:20]].sum())
    theirs = scipy.stats.binomtest(hits, 25).proportion_ci(method="wilson")
    assert found.mean == hits / 25
    assert (found.low, found.high) == pytest.approx((theirs.low, theirs.high), abs=1e-6)


@pytest.mark.parametrize(
    ("suspicion", "wrong", "shares", "message"),
    [
        (torch.ones(3, 1), torch.tensor([True, False, True]), (0.1,), r"shape \[3, 1\]"),
        (torch.tensor([1.0, torch.nan]), torch.tensor([True, False]), (0.1,), "not finite"),
        (torch.ones(2), torch.tensor([1, 0]), (0.1,), "mislabelled is torch.int64"),
        (torch.ones(2), torch.tensor([True, False, True]), (0.1,), r"give boolean \[2\]"),
        (torch.ones(2), torch.tensor([True, True]), (0.1,), "2 of 2 labels are wrong"),
        (torch.ones(2), torch.tensor([False, False]), (0.1,), "0 of 2 labels are wrong"),
        (torch.ones(2), torch.tensor([True, False]), (0.0,), r"lie in \(0, 1\]"),
        (torch.ones(2), torch.tensor([True, False]), (), r"shares is \[\]"),
    ],
)
def test_what_has_no_answer_is_refused(suspicion, wrong, shares, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        mislabel_detection(suspicion, wrong, shares)
