from __future__ import annotations

import math

import pytest
import torch

from captum_tfa.auditing.mistakes import Answers
from captum_tfa.auditing.suspected_labels import Tally, suspected_labels, suspicion_of
from captum_tfa.demo import SmallCNN, make_shapes, train_classifier
from captum_tfa.metrics import mislabel_detection
from tests.auditing.small import small_audit

SCORES = torch.tensor([[-0.5, 0.1, 0.0, -0.2], [0.1, 0.3, -0.4, -0.2]])
LABELS = torch.tensor([0, 1, 1, 2])


def answers(losses: list[float]) -> Answers:
    count = len(losses)
    return Answers(
        torch.arange(count) % 3, torch.zeros(count).long(), torch.ones(count), torch.tensor(losses)
    )


def test_a_tally_adds_up_scores_with_all_and_with_the_own_class() -> None:
    tally = Tally.of(SCORES, torch.tensor([0, 1]), LABELS)
    assert int(tally.sampled) == 2
    assert tally.harm.tolist() == pytest.approx([0.2, -0.2, 0.2, 0.2])
    assert tally.own.tolist() == [1, 1, 1, 0]
    assert tally.own_total.tolist() == pytest.approx([-0.5, 0.3, -0.4, 0])
    twice = Tally.nothing(4) + tally + tally
    assert twice.harm.tolist() == pytest.approx(tally.harm.tolist())
    assert twice.own.tolist() == [2, 2, 2, 0]


def test_suspicion_is_the_mean_of_the_two_ranks() -> None:
    tally = Tally.of(-torch.tensor([[0.1, 0.4, 0.2, 0.2]]), torch.tensor([0]), LABELS)
    found = suspicion_of(tally, torch.tensor([3.0, 1.0, 4.0, 2.0]))
    harm_ranks, loss_ranks = [1 / 4, 1, 3 / 4, 3 / 4], [3 / 4, 1 / 4, 1, 1 / 2]
    expected = [(a + b) / 2 for a, b in zip(harm_ranks, loss_ranks, strict=True)]
    assert found.tolist() == pytest.approx(expected)


def test_only_what_does_harm_and_is_hard_to_learn_is_listed() -> None:
    generator = torch.Generator().manual_seed(0)
    harm, losses = torch.randn(400, generator=generator), torch.rand(400, generator=generator)
    tally = Tally.of(-harm[None], torch.tensor([0]), torch.arange(400) % 3)
    found = suspected_labels(tally, answers(losses.tolist()))
    assert len(found) == 20  # one in twenty
    suspicion = suspicion_of(tally, losses)
    allowed = [place for place in range(400) if harm[place] > 0 and losses[place] > losses.median()]
    first = sorted(allowed, key=lambda place: -float(suspicion[place]))[:20]
    assert [each.index for each in found] == first
    assert found[0].loss == pytest.approx(float(losses[first[0]]))
    assert found[0].harm == pytest.approx(float(harm[first[0]]), rel=1e-6)
    assert found[0].label == first[0] % 3
    own = [each.own_class for each in found]
    assert all(
        math.isnan(value) == (each.label != 0) for value, each in zip(own, found, strict=True)
    )
    assert len(suspected_labels(tally, answers(losses.tolist()), most=3)) == 3


def test_where_nothing_does_harm_no_label_is_suspected() -> None:
    tally = Tally.of(torch.rand(1, 40), torch.tensor([0]), torch.zeros(40).long())
    assert suspected_labels(tally, answers([1.0] * 20 + [2.0] * 20)) == ()


@pytest.mark.parametrize(("epochs", "rate"), [(4, 0.0), (4, 0.9)])
def test_planted_wrong_labels_are_found(epochs: int, rate: float) -> None:
    train, tests = make_shapes(150, 40, shortcut_rate=rate, seed=1)
    generator = torch.Generator().manual_seed(0)
    wrong = torch.rand(len(train), generator=generator) < 0.06
    shift = torch.randint(1, 4, (len(train),), generator=generator)
    train.labels = torch.where(wrong, (train.labels + shift) % 4, train.labels)
    torch.manual_seed(0)
    model = train_classifier(SmallCNN(4), train, epochs)
    audit = small_audit(
        model=model, train=train, tests=tests, score=None, max_mistakes=2, k=2, controls=1
    )
    found = mislabel_detection(audit.suspicion, wrong)
    assert found.auc.mean > 0.75
