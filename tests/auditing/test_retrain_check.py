from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils.data import Dataset

from captum_tfa.auditing.result import Audit
from captum_tfa.auditing.retrain_check import Treated, retrain_check, student_interval
from captum_tfa.auditing.suspects import Region, Suspect
from captum_tfa.metrics import mean_colour
from captum_tfa.metrics.error_correction import as_many_at_random
from tests.auditing.small import MODEL, TESTS, TRAIN, said, small_audit

LABELS = TRAIN.tensors[1]


class Says(nn.Module):
    """A model that was taught what to say of each test picture."""

    def __init__(self, answers: Tensor) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(1))
        self.answers = answers
        self.eval()

    def forward(self, images: Tensor) -> Tensor:
        logits = torch.zeros(len(images), 3)
        for row, image in enumerate(images):
            place = int((TESTS.tensors[0] - image).abs().sum((1, 2, 3)).argmin())
            logits[row, self.answers[place]] = 5.0
        return logits


def suspects(*indices: int, kind: str = "region") -> tuple[Suspect, ...]:
    region = Region(2, 3, 4, 5) if kind == "region" else None
    return tuple(Suspect(i, int(LABELS[i]), kind, "planted", -0.5, region) for i in indices)


@pytest.fixture(scope="module")
def audit() -> Audit:
    return replace(small_audit(max_mistakes=3, k=1, controls=1), suspects=suspects(2, 5, 0))


def indices_in(dataset: Dataset[Any]) -> set[int]:
    """Which training pictures are in a data set, whatever was covered."""
    found = set()
    for place in range(len(dataset)):  # type: ignore[arg-type]
        rows = TRAIN.tensors[0][:, :, 0]  # no region covers the first row
        found.add(int((rows - dataset[place][0][:, 0]).abs().sum((1, 2)).argmin()))
    return found


RIGHT = torch.tensor([label for _, label in TESTS.samples])


def test_a_model_that_needs_the_suspects_gone_is_helped(audit: Audit) -> None:
    answers, _ = said()
    calls = []

    def train(dataset: Dataset[Any], seed: int) -> nn.Module:
        gone = set(range(24)) - indices_in(dataset)
        calls.append((gone, seed))
        better = answers.clone()
        if gone == {0, 2, 5}:
            places = [mistake.index for mistake in audit.mistakes]
            better[places] = RIGHT[places]
        # Trainings differ by chance, the same in both arms.
        better[seed] = (RIGHT[seed] + seed) % 3
        return Says(better)

    (found,) = retrain_check(audit, MODEL, TRAIN, TESTS, train, treatments=["without"], seeds=3)
    assert found.treatment == "without"
    assert found.images == 3
    assert found.verdict == "helped"
    assert "it helped" in str(found)
    for seed, (gone, given) in enumerate(calls[:3]):
        assert (gone, given) == ({0, 2, 5}, seed)
    for seed, (gone, given) in enumerate(calls[3:]):
        assert given == seed
        chosen = as_many_at_random(torch.tensor([0, 2, 5]), 24, LABELS, seed)
        assert gone == set(chosen.tolist())
        assert sorted(LABELS[list(gone)].tolist()) == sorted(LABELS[[0, 2, 5]].tolist())
    touched = [m.index for m in audit.mistakes if m.index < 3]  # chance overrules these
    assert found.mended.mean == pytest.approx(1 - len(touched) / 9)
    assert found.accuracy.mean == pytest.approx((3 - len(touched) / 3) / 15)
    assert found.others.mean == 0
    told = f"that are mended differs by {100 * found.mended.mean:+.1f} points."
    assert str(found).endswith(told)


def test_without_an_explained_mistake_nothing_is_said_of_what_was_mended(audit: Audit) -> None:
    unexplained = replace(audit, mistakes=())
    (found,) = retrain_check(
        unexplained, MODEL, TRAIN, TESTS, lambda *_: Says(said()[0]), treatments=["without"]
    )
    assert math.isnan(found.mended.mean)
    assert str(found).endswith("it cannot be told whether it helped.")


def test_covered_regions_are_those_of_the_table_and_the_control_has_them_too(audit: Audit) -> None:
    changed: list[Dataset[Any]] = []

    def train(dataset: Dataset[Any], seed: int) -> nn.Module:
        changed.append(dataset)
        return Says(said()[0])

    (found,) = retrain_check(audit, MODEL, TRAIN, TESTS, train, treatments=["covered"], seeds=1)
    colour = mean_colour(TRAIN)
    for dataset, covered in (
        (changed[0], {0, 2, 5}),
        (changed[1], set(as_many_at_random(torch.tensor([0, 2, 5]), 24, LABELS, 0).tolist())),
    ):
        for place in range(24):
            expected = TRAIN[place][0].clone()
            if place in covered:
                expected[:, 2:6, 3:8] = colour[:, None, None]
            torch.testing.assert_close(dataset[place][0], expected)
            assert dataset[place][1] == TRAIN[place][1]
    assert found.verdict == "cannot be told"
    assert "one training each has no interval" in str(found)
    assert "cannot be told whether it helped" in str(found)


def test_what_makes_no_difference_or_harm_is_said_so(audit: Audit) -> None:
    answers, _ = said()

    def train(dataset: Dataset[Any], seed: int) -> nn.Module:
        worse = answers.clone()
        if 0 not in indices_in(dataset):
            worse[:] = (RIGHT + 1) % 3
        return Says(worse)

    results = retrain_check(audit, MODEL, TRAIN, TESTS, train, seeds=4, top=1)
    assert [each.treatment for each in results] == ["without", "covered"]
    assert [each.images for each in results] == [1, 1]
    same = results[1]  # covering leaves every picture in
    assert (same.accuracy.mean, same.accuracy.low, same.accuracy.high) == (0, 0, 0)
    assert same.verdict == "cannot be told"


def test_without_regions_nothing_is_covered(audit: Audit) -> None:
    only_labels = replace(
        audit, suspects=(*suspects(4, 4, 7, kind="label"), *suspects(9, kind="opponent"))
    )
    seen = []

    def train(dataset: Dataset[Any], seed: int) -> nn.Module:
        seen.append(set(range(24)) - indices_in(dataset))
        return Says(said()[0])

    results = retrain_check(only_labels, MODEL, TRAIN, TESTS, train, seeds=1)
    assert [(each.treatment, each.images) for each in results] == [("without", 2)]
    assert seen[0] == {4, 7}  # of the first kind, each once
    retrain_check(only_labels, MODEL, TRAIN, TESTS, train, seeds=1, top=3)
    assert seen[2] == {4, 7, 9}


def test_trainings_that_are_done_are_not_done_again(audit: Audit, tmp_path: Path) -> None:
    count = 0

    def train(dataset: Dataset[Any], seed: int) -> nn.Module:
        nonlocal count
        count += 1
        if count == 3:
            raise KeyboardInterrupt
        return Says(said()[0])

    def check() -> tuple[Treated, ...]:
        return retrain_check(audit, MODEL, TRAIN, TESTS, train, seeds=2, folder=tmp_path / "r")

    with pytest.raises(KeyboardInterrupt):
        check()
    first = check()
    assert count == 3 + 6
    assert [str(each) for each in check()] == [str(each) for each in first]
    assert count == 9

    def another(dataset: Dataset[Any], seed: int) -> nn.Module:
        return train(dataset, seed)

    with pytest.raises(ValueError, match="trained by"):
        retrain_check(audit, MODEL, TRAIN, TESTS, another, seeds=2, folder=tmp_path / "r")


def test_students_interval_is_that_of_a_table() -> None:
    values = torch.tensor([1.0, 2.0, 6.0])
    found = student_interval(values)
    half = 4.30265 * float(values.std()) / 3**0.5  # t of 97.5 % with 2 degrees of freedom
    assert found.mean == 3
    assert found.low == pytest.approx(3 - half, rel=1e-5)
    assert found.high == pytest.approx(3 + half, rel=1e-5)


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"top": 0}, "top is 0"),
        ({"seeds": 0}, "seeds is 0"),
        ({"seeds": 1.5}, "seeds is 1.5"),
        ({"treatments": ["burned"]}, "one or both of 'without' and 'covered'"),
        ({"treatments": []}, "one or both"),
    ],
)
def test_arguments_out_of_range(audit: Audit, changes: dict[str, Any], told: str) -> None:
    with pytest.raises(ValueError, match=told):
        retrain_check(audit, MODEL, TRAIN, TESTS, lambda *_: MODEL, **changes)


def test_no_suspects_and_a_model_that_still_trains_are_refused(audit: Audit) -> None:
    with pytest.raises(ValueError, match="has no suspect"):
        retrain_check(replace(audit, suspects=()), MODEL, TRAIN, TESTS, lambda *_: MODEL)
    with pytest.raises(ValueError, match="training mode"):
        retrain_check(audit, MODEL, TRAIN, TESTS, lambda *_: Says(said()[0]).train(), seeds=1)
