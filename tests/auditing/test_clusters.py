from __future__ import annotations

import math

import pytest
import torch
from scipy.stats import gumbel_r

from captum_tfa.auditing.clusters import (
    EXAMPLES,
    FALSE_ALARMS,
    LEAST_LIFT,
    made,
    needed,
    stands_out,
)
from captum_tfa.auditing.descriptors import describe
from captum_tfa.auditing.excess import Excess
from tests.auditing.planted import planted


def test_what_is_needed_is_the_quantile_of_gumbels_law() -> None:
    tops = gumbel_r(loc=5, scale=1.3).rvs(4000, random_state=0).clip(max=12)
    wanted = gumbel_r(loc=5, scale=1.3).ppf(1 - FALSE_ALARMS)
    assert needed(tops.tolist()) == pytest.approx(wanted, rel=0.03)
    # By the moments of few: mean + deviation * sqrt(6) / pi * (quantile - Euler's constant).
    few = [3.0, 5.0, 4.0]
    euler = gumbel_r.mean()
    quantile = gumbel_r.ppf(1 - FALSE_ALARMS)
    assert needed(few) == pytest.approx(4 + math.sqrt(6) / math.pi * (quantile - euler))


def test_what_is_needed_is_never_less_than_the_highest_draw() -> None:
    assert needed([2.5]) == 2.5
    assert needed([3.0, 3.0, 3.0]) == 3
    assert needed([0.0] * 500 + [9.0]) >= 9


def test_a_cluster_stands_out_by_strength_and_by_how_often_it_comes_up() -> None:
    control = [3.0, 5.0, 4.0]

    def out(strength: float, lift: float) -> bool:
        return stands_out(Excess(strength, 0, 0.1, 9, lift), control)

    enough = needed(control) + 0.01
    assert out(enough, LEAST_LIFT)
    assert not out(needed(control), LEAST_LIFT)
    assert not out(enough, LEAST_LIFT - 0.01)


def test_a_cluster_says_what_its_members_are() -> None:
    made_up = planted(0.5, mistakes=30)
    evidence = made_up.evidence
    found = describe(evidence)
    regions = made_up.carries[found.images].nonzero().flatten()
    excess = Excess(strength=50, middle=int(regions[2]), radius=0.1, within=9, lift=40)
    cluster = made(evidence, found, regions, excess, [3.0, 5.0, 4.0])
    members = torch.isin(evidence.indices, found.images[regions]).nonzero().flatten()
    assert sorted(cluster.members.tolist()) == members.tolist()
    assert cluster.images == len(regions)
    behind = len(evidence.mistakes[members].unique()) / 30
    assert cluster.share_of_mistakes == pytest.approx(behind)
    assert cluster.purity == {0: 1.0}
    assert cluster.gap == 46
    assert cluster.p == 1 / 4
    # The nearer to the middle of the ball, the more typical.
    far = (found.contents - found.contents[excess.middle]).norm(dim=1)
    order = far[found.of_pair[cluster.members]]
    assert bool((order.diff() >= -1e-6).all())
    torch.testing.assert_close(cluster.mean_map, found.heat[regions].mean(0))
    torch.testing.assert_close(cluster.mean_patch, found.patches[regions].mean(0))
    assert bool((cluster.peaks == 27.5).all())
    assert len(cluster.examples) == min(EXAMPLES, len(regions))
    shown = evidence.indices[cluster.examples]
    assert len(shown.unique()) == len(shown)


def test_examples_are_of_different_mistakes_where_they_can_be() -> None:
    made_up = planted(1.0, mistakes=40, images=60)
    evidence = made_up.evidence
    found = describe(evidence)
    excess = Excess(strength=50, middle=0, radius=0.1, within=9, lift=40)
    cluster = made(evidence, found, torch.arange(len(found)), excess, [1.0])
    assert len(evidence.mistakes[cluster.examples].unique()) == len(cluster.examples)
