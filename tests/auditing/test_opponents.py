from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest
import torch
from torch import Tensor

from captum_tfa.auditing import opponents
from captum_tfa.auditing.opponents import Ranked, pairs_of, rank
from captum_tfa.auditing.progress import Progress
from captum_tfa.auditing.suspected_labels import Tally
from captum_tfa.index import GradientIndex
from captum_tfa.scores import GradCosScore
from tests.auditing.small import MODEL, TESTS, TRAIN

SCORE = GradCosScore(MODEL)
LABELS = TRAIN.tensors[1]
MISTAKES, SAMPLE = torch.tensor([7, 1, 4]), torch.tensor([0, 1, 5, 9])


def one_by_one() -> Tensor:
    """The score of every pair of a training and a test picture, ``[15, 24]``."""
    table = torch.empty(len(TESTS), len(TRAIN))
    with torch.no_grad():
        for row, (test, label) in enumerate(TESTS):
            for place, (image, own) in enumerate(TRAIN):
                table[row, place] = SCORE(image[None], test[None], label[None], own[None])
    return table


def ranked(progress: Progress | None = None, train: object = TRAIN) -> Ranked:
    progress = progress or Progress(None, {})
    return rank(SCORE, train, LABELS, TESTS, MISTAKES, SAMPLE, 5, progress, 7)  # type: ignore[arg-type]


def check(found: Ranked) -> None:
    table = one_by_one()
    for row, place in enumerate(MISTAKES.tolist()):
        order = sorted(range(24), key=lambda n: float(table[place, n]))[:5]
        assert found.indices[row].tolist() == order
        torch.testing.assert_close(found.scores[row], table[place, order], atol=1e-5, rtol=1e-4)


def test_opponents_are_those_of_every_pair_scored_alone() -> None:
    found = ranked()
    check(found)
    table = one_by_one()
    torch.testing.assert_close(
        found.tally.harm, -table[SAMPLE].double().mean(0), atol=1e-6, rtol=1e-4
    )
    assert int(found.tally.sampled) == 4
    for place in range(24):
        own = [q for q in SAMPLE.tolist() if q % 3 == int(LABELS[place])]
        assert int(found.tally.own[place]) == len(own)
        expected = float(table[own, place].double().sum())
        assert float(found.tally.own_total[place]) == pytest.approx(expected, abs=1e-5)


def test_passes_that_share_the_tests_give_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = ranked()
    monkeypatch.setattr(opponents, "_SCORES_BYTES", 4 * 24 * 2)  # two test images a pass
    parts = ranked()
    assert parts.indices.tolist() == whole.indices.tolist()
    torch.testing.assert_close(parts.tally.harm, whole.tally.harm)
    assert parts.tally.own.tolist() == whole.tally.own.tolist()


def test_memory_bounds_how_many_share_a_pass(monkeypatch: pytest.MonkeyPatch) -> None:
    numbers = sum(p.numel() for p in MODEL.parameters())
    monkeypatch.setattr(opponents, "_GRADIENTS_BYTES", 4 * numbers * 3 + 1)
    assert opponents._at_once(SCORE, 24) == 3
    monkeypatch.setattr(opponents, "_GRADIENTS_BYTES", 1)
    assert opponents._at_once(SCORE, 24) == 1


def test_passes_that_were_kept_are_not_made_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = ranked(Progress(tmp_path, {"a": 1}))

    def refuse(*_: object) -> None:
        raise AssertionError("ranked again")

    monkeypatch.setattr(opponents, "_ranked", refuse)
    again = ranked(Progress(tmp_path, {"a": 1}))
    assert again.indices.tolist() == first.indices.tolist()
    assert torch.equal(again.tally.harm, first.tally.harm)


def test_an_index_finds_the_same_with_exact_scores(tmp_path: Path) -> None:
    index = GradientIndex.build(SCORE, TRAIN, tmp_path / "index", dimension=4096, batch_size=8)
    check(ranked(train=index))


def test_pairs_count_each_opponent_among_the_mistakes_of_the_pair() -> None:
    indices = torch.tensor([[3, 1, 2], [1, 3, 5], [4, 1, 0], [9, 8, 7]])
    scores = torch.tensor(
        [[-0.9, -0.5, -0.1], [-0.8, -0.2, 0.1], [-0.3, -0.2, -0.1], [-0.5, 0.0, 0.2]]
    )
    found = pairs_of(
        [0, 0, 0, 2],
        [1, 1, 1, 1],
        Ranked(indices, scores, Tally.nothing(10)),
        torch.arange(10) % 2,
    )
    assert [(pair.label, pair.predicted, pair.mistakes) for pair in found] == [
        (0, 1, (0, 1, 2)),
        (2, 1, (3,)),
    ]
    negative = (indices[:3][scores[:3] < 0]).tolist()
    often = {index: count for index, count in Counter(negative).items() if count >= 2}
    first = found[0].opponents
    assert {each.index: each.mistakes for each in first} == often
    assert [each.index for each in first] == [1, 3]
    assert first[0].share == 1
    assert first[1].share == pytest.approx(2 / 3)
    assert first[0].score == pytest.approx((-0.5 - 0.8 - 0.2) / 3)
    assert first[0].label == 1
    assert [each.index for each in found[1].opponents] == [9]  # of a single mistake all
