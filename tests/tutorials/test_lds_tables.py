"""Differences of two scores' LDS, and how far two trainings of one subset agree."""

from __future__ import annotations

import pytest
import torch
from scipy.stats import spearmanr

from captum_tfa.metrics import linear_datamodelling_score
from captum_tfa.metrics.subsets import Retrained, random_subsets
from common.lds_tables import gain, plain, seeds_agree

generator = torch.Generator().manual_seed(0)
MEMBERS = random_subsets(12, 7)
EFFECTS = torch.randn(5, 12, generator=generator, dtype=torch.double)


def retrained(noise: float) -> Retrained:
    """Two trainings of each subset, whose outputs are sums of effects and chance."""
    exact = (MEMBERS.double() @ EFFECTS.T).repeat_interleave(2, 0)
    chance = torch.randn(exact.shape, generator=generator, dtype=torch.double)
    seeds = torch.tensor([0, 1]).repeat(len(MEMBERS))
    return Retrained(MEMBERS.repeat_interleave(2, 0), seeds, exact + noise * chance)


def test_gain_is_the_difference_of_the_two_scores() -> None:
    found, other = retrained(0.5), torch.randn(5, 12, generator=generator)
    wanted = [linear_datamodelling_score(scores, found).mean for scores in (EFFECTS, other)]
    gained = gain(EFFECTS, other, found)
    assert gained.mean == pytest.approx(wanted[0] - wanted[1])
    assert gained.low < gained.mean < gained.high
    assert gain(other, other, found) == (0, 0, 0)


def test_seeds_agree_as_far_as_chance_lets_them() -> None:
    assert seeds_agree(retrained(0)).mean == pytest.approx(1)
    found = retrained(3.0)
    first, second = (found.outputs[found.seeds == seed] for seed in (0, 1))
    each = [spearmanr(a, b).statistic for a, b in zip(first.T, second.T, strict=True)]
    assert seeds_agree(found).mean == pytest.approx(sum(each) / len(each))
    one = found.seeds == 0
    alone = Retrained(found.members[one], found.seeds[one], found.outputs[one])
    assert seeds_agree(alone) is None


def test_weights_are_no_scores() -> None:
    table = torch.zeros(1, 1)
    names = ("grad-dot", "grad-dot, learned weights", "weights of grad-dot")
    assert plain(dict.fromkeys(names, table)) == ["grad-dot"]
