from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binom
from torch import Tensor

from captum_tfa.auditing.excess import LEAST, Contents, Excess, log_likelihood_ratio


def _slow(seen: Tensor, chance: list[Tensor], members: list[int]) -> float:
    """The best ball, one middle and one radius after the other."""
    best = 0.0
    for middle in members:
        for edge in members:
            radius = float((seen[middle] - seen[edge]).square().mean().sqrt())
            n = sum(
                float((seen[middle] - seen[other]).square().mean().sqrt()) <= radius
                for other in members
            )
            if n < LEAST:
                continue
            p = max(
                (sum(float((seen[middle] - c).square().mean().sqrt()) <= radius for c in kind) + 1)
                / (len(kind) + 1)
                for kind in chance
            )
            q, count = n / len(seen), len(seen)
            if q > p:
                rest = (count - n) * math.log((1 - q) / (1 - p)) if q < 1 else 0.0
                best = max(best, n * math.log(q / p) + rest)
    return best


@settings(max_examples=30, deadline=None)
@given(count=st.integers(1, 24), chance=st.integers(1, 9), seed=st.integers(0, 2**63 - 1))
def test_the_best_ball_is_that_of_the_slow_search(count: int, chance: int, seed: int) -> None:
    draw = torch.Generator().manual_seed(seed)
    # Whole numbers, so that there are equal distances, and zeros.
    seen = torch.randint(3, (count, 2), generator=draw).double()
    kinds = [torch.randint(4, (chance, 2), generator=draw).double() for _ in range(2)]
    members = torch.randperm(count, generator=draw)[: (count + 1) // 2]
    found = Contents(seen, kinds).excess(members)
    assert found.strength == pytest.approx(_slow(seen, kinds, members.tolist()), abs=1e-12)
    assert min(LEAST, len(members)) <= found.within <= len(members)
    assert found.middle in members.tolist()


def test_the_ratio_is_that_of_two_binomials() -> None:
    for count, p in ((3, 0.1), (19, 0.5), (20, 0.9)):
        wanted = binom.logpmf(count, 20, count / 20) - binom.logpmf(count, 20, p)
        found = log_likelihood_ratio(torch.tensor(count).double(), 20, torch.tensor(p, dtype=float))
        assert float(found) == pytest.approx(wanted)
    fewer = log_likelihood_ratio(torch.tensor(1.0), 20, torch.tensor(0.5))
    assert float(fewer) == 0


def test_equal_contents_that_never_come_up_by_chance_have_the_closed_form() -> None:
    seen = torch.cat(
        [torch.zeros(6, 4), torch.randn(4, 4, generator=torch.Generator().manual_seed(0))]
    )
    far = torch.full((99, 4), 50.0)
    found = Contents(seen, [far]).excess(torch.arange(6))
    assert found.strength == pytest.approx(6 * math.log(0.6 * 100) + 4 * math.log(0.4 / 0.99))
    assert found.radius == 0
    assert found.within == 6
    assert found.lift == pytest.approx(60)


def test_what_few_images_share_does_not_come_up_again_and_again() -> None:
    seen = torch.cat([torch.zeros(LEAST, 4), 1 + torch.rand(6, 4)])
    contents = Contents(seen, [torch.full((99, 4), 50.0)])
    assert contents.excess(torch.arange(LEAST)).strength > 10
    few = contents.excess(torch.arange(LEAST - 1))
    assert few.strength == 0
    assert few.within == LEAST - 1


def test_clusters_that_one_ball_holds_better_become_one_and_others_stay() -> None:
    draw = torch.Generator().manual_seed(0)
    alike = 0.01 * torch.randn(40, 4, generator=draw)
    others = torch.randn(30, 4, generator=draw) + 10
    chance = torch.randn(500, 4, generator=draw) * 5 + 5
    groups = torch.cat([torch.arange(40) % 2, torch.full((30,), 2)])
    found = Contents(torch.cat([alike, others]), [chance]).merged(groups)
    assert [sorted(members.tolist()) for members, _ in found] == [
        list(range(40)),
        list(range(40, 70)),
    ]
    assert found[0][1].strength > found[1][1].strength


def test_nothing_is_surprising_that_is_as_common_by_chance() -> None:
    same = torch.ones(20, 3)
    assert Contents(same, [torch.ones(40, 3)]).excess(torch.arange(20)).strength == 0
    # ... of either kind
    kinds = [torch.zeros(40, 3), torch.ones(40, 3)]
    assert Contents(same, kinds).excess(torch.arange(20)).strength == 0


def test_what_is_the_same_is_kept_and_the_rest_of_a_cluster_is_not() -> None:
    draw = torch.Generator().manual_seed(0)
    alike = 0.5 + 0.02 * torch.randn(15, 4, generator=draw)
    others = torch.rand(60, 4, generator=draw)
    chance = torch.rand(2000, 4, generator=draw)
    contents = Contents(torch.cat([alike, others]), [chance])
    members = torch.randperm(75, generator=draw)
    excess = contents.excess(members)
    same = contents.same(members, excess)
    assert set(range(15)) <= set(members[same].tolist())
    # By chance there are a few within reach.
    assert int(same.sum()) <= 17
    assert excess.within <= int(same.sum())
    assert excess.middle in members[same].tolist()


def test_a_region_beside_the_ball_is_the_same_if_it_is_near_a_quarter_of_it() -> None:
    # On a line: a ball of 0 to 1 around its middle, and three regions beyond it.
    ball = torch.linspace(0, 1, 101)
    seen = torch.cat([ball, torch.tensor([1.2, 1.3, 5.0])])[:, None]
    contents = Contents(seen, [torch.full((10, 1), 9.0)])
    excess = Excess(strength=1, middle=50, radius=0.5, within=101, lift=1)
    same = contents.same(torch.arange(104), excess)
    assert bool(same[:101].all())
    # 0.7 to 1 is near 1.2, three tenths of the ball; 0.8 to 1 is near 1.3, a fifth.
    assert same[101:].tolist() == [True, False, False]
