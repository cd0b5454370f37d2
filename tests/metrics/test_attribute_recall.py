"""Recall is counted over what can be found, on queries that nothing was learned from."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch.utils.data import DataLoader, TensorDataset

from captum_tfa import GradCosScore, ScoreInfluence, TracInScore, learn_weights
from captum_tfa.metrics import attribute_recall
from tests.attr.small_nets import pictures, small_net
from tests.scores.test_tracin import RATES, states

MODEL = small_net()
TRAIN = TensorDataset(pictures(12, 5), torch.arange(12) % 3)
QUERIES = pictures(4, 6), torch.arange(4) % 3
INFLUENCE = ScoreInfluence(GradCosScore(MODEL), TRAIN)


@pytest.mark.parametrize("k", [1, 3, 12, 20])
def test_it_is_counted_by_hand(k: int) -> None:
    shares = torch.rand(4, 12, generator=torch.Generator().manual_seed(0)) < 0.3
    shares[:, 0] = True
    scores = INFLUENCE.influence(QUERIES)
    expected = []
    for query in range(4):
        order = sorted(range(12), key=lambda n: -float(scores[query, n]))[:k]
        hits = sum(bool(shares[query, n]) for n in order)
        expected.append(hits / min(int(shares[query].sum()), len(order)))
    assert attribute_recall(INFLUENCE, QUERIES, shares, k).tolist() == pytest.approx(expected)


def test_one_attribute_for_all_and_a_loader() -> None:
    shares = torch.arange(12) % 3 == 0
    found = attribute_recall(INFLUENCE, QUERIES, shares, 4)
    assert torch.equal(found, attribute_recall(INFLUENCE, QUERIES, shares.expand(4, 12), 4))
    loaded = ScoreInfluence(GradCosScore(MODEL), DataLoader(TRAIN, 5))
    assert torch.equal(found, attribute_recall(loaded, QUERIES, shares, 4))


def test_queries_that_weights_were_learned_from_are_refused() -> None:
    for score in (GradCosScore(MODEL), TracInScore(MODEL, states(MODEL), RATES)):
        weights = learn_weights(ScoreInfluence(score, TRAIN), QUERIES, k=2, steps=2)
        better = ScoreInfluence(score.weighted(weights), TRAIN)
        shares = torch.arange(12) % 3 == 0
        with pytest.raises(ValueError, match="4 of 4 queries are among those from which"):
            attribute_recall(better, QUERIES, shares)
        mixed = torch.cat([pictures(2, 9), QUERIES[0][:1]])
        with pytest.raises(ValueError, match="1 of 3 queries"):
            attribute_recall(better, mixed, shares)
        assert len(attribute_recall(better, pictures(2, 9), shares)) == 2


@pytest.mark.parametrize(
    ("shares", "message"),
    [
        (torch.ones(12), "shares is torch.float32"),
        (torch.ones(11).bool(), "give boolean .12."),
        (torch.ones(3, 12).bool(), r"give boolean \[12\], or \[4, 12\]"),
        (torch.arange(12).expand(4, 12) < torch.tensor([[1], [0], [1], [1]]), "of query 1"),
    ],
)
def test_attributes_that_do_not_fit_are_refused(shares: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        attribute_recall(INFLUENCE, QUERIES, shares)
