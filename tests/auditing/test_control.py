from __future__ import annotations

import pytest
import torch

from captum_tfa.auditing.control import chance_control, elsewhere
from captum_tfa.auditing.descriptors import describe
from tests.auditing.planted import planted


def test_a_draw_has_other_images_of_the_same_labels_and_the_same_maps_elsewhere() -> None:
    made = planted(0.5)
    evidence = made.evidence
    draws = list(chance_control(evidence, made.pictures, made.labels, 3, seed=1))
    assert len(draws) == 3
    for draw in draws:
        assert torch.equal(draw.mistakes, evidence.mistakes)
        assert torch.equal(draw.labels, evidence.labels)
        assert torch.equal(made.labels[draw.indices], draw.labels)
        assert torch.equal(draw.images, made.pictures[draw.indices])
        # One image for one, in all of its pairs.
        pairs = {*zip(evidence.indices.tolist(), draw.indices.tolist(), strict=True)}
        assert len(pairs) == len(evidence.indices.unique()) == len(draw.indices.unique())
        # Every map is one of the evidence's, with its score, moved round.
        values = draw.maps.flatten(1).sort(1).values
        own = evidence.maps.flatten(1).sort(1).values
        of = (values[:, None] == own).all(2).long().argmax(1)
        assert sorted(of.tolist()) == list(range(len(evidence)))
        assert torch.equal(draw.scores, evidence.scores[of])
        for moved, there in zip(draw.maps[:5], evidence.maps[of][:5], strict=True):
            ways = [there.roll((y, x), (0, 1)) for y in range(32) for x in range(32)]
            assert any(torch.equal(moved, way) for way in ways)
    assert not torch.equal(draws[0].indices, draws[1].indices)


def test_other_places_are_of_the_same_images() -> None:
    evidence = planted(0.5).evidence
    first, second = elsewhere(evidence, 2, seed=1)
    assert torch.equal(first.images, evidence.images)
    assert torch.equal(first.indices, evidence.indices)
    assert not torch.equal(first.maps, second.maps)
    moved = first.maps.flatten(1).sort(1).values
    assert torch.equal(moved, evidence.maps.flatten(1).sort(1).values)
    # The maps of one image all go the same way.
    twice = evidence.indices.unique(return_counts=True)
    several = twice[0][twice[1] > 1][0]
    ways = []
    for pair in (evidence.indices == several).nonzero().flatten().tolist():
        there = evidence.maps[pair]
        ways.append(
            {
                (y, x)
                for y in range(32)
                for x in range(32)
                if torch.equal(first.maps[pair], there.roll((y, x), (0, 1)))
            }
        )
    assert set.intersection(*ways)


def test_draws_that_come_as_one_are_the_same_draws_of_images_apart() -> None:
    evidence = planted(0.5).evidence
    single = list(elsewhere(evidence, 5, seed=1))
    joined = list(elsewhere(evidence, 5, seed=1, at_once=2))
    assert [len(part) // len(evidence) for part in joined] == [2, 2, 1]
    for name in ("mistakes", "labels", "scores", "maps", "images"):
        parts = [torch.cat([getattr(each, name) for each in some]) for some in (single, joined)]
        assert torch.equal(*parts)
    images = len(evidence.indices.unique())
    assert [len(part.indices.unique()) for part in joined] == [2 * images, 2 * images, images]
    assert torch.equal(joined[0].indices[: len(evidence)], evidence.indices)
    # So what lies elsewhere is described just the same.
    contents = [torch.cat([describe(each).contents for each in some]) for some in (single, joined)]
    assert torch.equal(*contents)


def test_a_seed_gives_the_same_draws_and_global_chance_is_left_alone() -> None:
    made = planted(0.5)
    torch.manual_seed(0)
    before = torch.get_rng_state()
    one, two = (
        next(chance_control(made.evidence, made.pictures, made.labels, 1, seed=5)) for _ in "ab"
    )
    assert torch.equal(torch.get_rng_state(), before)
    assert torch.equal(one.indices, two.indices)
    assert torch.equal(one.maps, two.maps)


def test_no_draw_is_refused() -> None:
    made = planted(0.5)
    with pytest.raises(ValueError, match="draws is 0"):
        next(chance_control(made.evidence, made.pictures, made.labels, 0))


@pytest.mark.parametrize("wrong", ["short", "other"])
def test_labels_that_do_not_fit_the_evidence_are_refused(wrong: str) -> None:
    made = planted(0.5)
    labels = made.labels[:5] if wrong == "short" else made.labels + 1
    with pytest.raises(ValueError, match="do not say the same"):
        next(chance_control(made.evidence, made.pictures, labels, 1))
