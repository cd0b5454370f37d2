"""The known answer: a model that says the sum of what its members contribute."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.utils.data import Subset

from captum_tfa.metrics.subsets import (
    Retrained,
    leave_groups_out,
    random_subsets,
    read_retrained,
    retrain_subsets,
)
from tests.metrics.trainings import COUNT, QUERIES, additive, numbered, what_it_says

PARTS = torch.randn(QUERIES, COUNT, generator=torch.Generator().manual_seed(0)).double()
HALVES = random_subsets(COUNT, 6)


@given(st.integers(2, 40), st.integers(1, 6), st.floats(0.05, 0.95), st.integers(0, 9))
def test_subsets_have_their_size_and_more_only_add(
    count: int, subsets: int, fraction: float, seed: int
) -> None:
    size = int(fraction * count + 0.5)
    if not 0 < size < count:
        with pytest.raises(ValueError, match="some but not all"):
            random_subsets(count, subsets, fraction, seed)
        return
    members = random_subsets(count, subsets, fraction, seed)
    assert members.shape == (subsets, count)
    assert (members.sum(1) == size).all()
    assert torch.equal(random_subsets(count, subsets + 2, fraction, seed)[:subsets], members)


def test_every_example_is_as_likely() -> None:
    members = random_subsets(10, 4000, 0.3)
    deviation = (0.3 * 0.7 / 4000) ** 0.5
    assert (members.double().mean(0) - 0.3).abs().max() < 4 * deviation


def test_left_out_are_the_groups() -> None:
    members = leave_groups_out(5, [torch.tensor([1]), torch.tensor([0, 4])])
    assert members.tolist() == [
        [True] * 5,
        [True, False, True, True, True],
        [False, True, True, True, False],
    ]
    assert torch.equal(~leave_groups_out(3, torch.arange(3).split(1))[1:], torch.eye(3).bool())


def test_each_model_is_trained_on_its_members(tmp_path: Path) -> None:
    found = retrain_subsets(
        additive(PARTS), numbered(), HALVES, what_it_says, tmp_path, seeds=(3, 4)
    )
    assert found.seeds.tolist() == [3, 4] * 6
    assert torch.equal(found.members, HALVES.repeat_interleave(2, 0))
    torch.testing.assert_close(found.outputs, found.members.double() @ PARTS.T)


def test_seeds_are_averaged_for_each_set_of_members() -> None:
    members = torch.tensor([[True, False], [False, True], [True, False]])
    outputs = torch.tensor([[1.0, 2.0], [5.0, 6.0], [3.0, 8.0]])
    averaged, means = Retrained(members, torch.tensor([0, 0, 1]), outputs).over_seeds()
    for row, mean in zip(averaged.tolist(), means.tolist(), strict=True):
        assert mean == ([2.0, 5.0] if row == [True, False] else [5.0, 6.0])


def test_a_killed_run_goes_on_where_it_was(tmp_path: Path) -> None:
    trained = []

    def train(subset: Subset, seed: int):
        if len(trained) == 5:
            raise KeyboardInterrupt
        trained.append((tuple(subset.indices), seed))
        return additive(PARTS)(subset, seed)

    asked = (train, numbered(), HALVES, what_it_says, tmp_path)
    with pytest.raises(KeyboardInterrupt):
        retrain_subsets(*asked, seeds=(0, 1))
    # Two trainings were the check of the beginning; three models are there.
    partial = read_retrained(tmp_path)
    assert len(partial.outputs) == 3
    assert torch.equal(partial.members, HALVES[:3])
    torch.testing.assert_close(partial.outputs, partial.members.double() @ PARTS.T)

    trained.clear()
    trained.append(None)  # lets all of the others through
    trained.extend([None] * 10)
    whole = retrain_subsets(*asked, seeds=(0, 1))
    done = [one for one in trained if one is not None]
    assert len(done) == 2 + 9
    assert not {(tuple(row.nonzero().flatten().tolist()), 0) for row in HALVES[:3]} & set(done)
    torch.testing.assert_close(whole.outputs, whole.members.double() @ PARTS.T)
    everything = read_retrained(tmp_path)
    assert sorted(map(tuple, everything.outputs.tolist())) == sorted(
        map(tuple, whole.outputs.tolist())
    )


def test_more_subsets_and_seeds_are_added_to_those_that_are_there(tmp_path: Path) -> None:
    asked = (additive(PARTS), numbered())
    retrain_subsets(*asked, HALVES[:3], what_it_says, tmp_path)
    before = {file: os.stat(file).st_mtime_ns for file in tmp_path.iterdir()}
    found = retrain_subsets(*asked, HALVES, what_it_says, tmp_path, seeds=(0, 1))
    assert len(found.outputs) == 12
    assert all(os.stat(file).st_mtime_ns == time for file, time in before.items())


def test_other_members_in_the_same_folder_are_refused(tmp_path: Path) -> None:
    asked = (additive(PARTS), numbered())
    retrain_subsets(*asked, HALVES, what_it_says, tmp_path)
    other = random_subsets(COUNT, 6, seed=1)
    with pytest.raises(ValueError, match=r"'subset 0' with other members: .* there, .* now"):
        retrain_subsets(*asked, other, what_it_says, tmp_path)


def test_other_settings_are_refused(tmp_path: Path) -> None:
    asked = (additive(PARTS), numbered(), HALVES, what_it_says, tmp_path)
    retrain_subsets(*asked, settings={"epochs": 3})
    with pytest.raises(ValueError, match="epochs: 3 in the folder, 4 now"):
        retrain_subsets(*asked, settings={"epochs": 4})


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: random_subsets(5, 0), "0 subsets"),
        (lambda: leave_groups_out(3, []), "0 groups"),
        (lambda: leave_groups_out(3, [torch.tensor([3])]), "lie in 0 to 2"),
        (lambda: leave_groups_out(3, [torch.tensor([-1])]), "lie in 0 to 2"),
        (lambda: leave_groups_out(2, [torch.tensor([0, 1])]), "some examples but not all"),
        (
            lambda: retrain_subsets(
                additive(PARTS), numbered(), HALVES[:, 1:], what_it_says, "never"
            ),
            r"\[M, 12\]",
        ),
        (
            lambda: Retrained(HALVES, torch.zeros(6), torch.ones(5, 2)),
            r"boolean \[R, N\], \[R\] and \[R, Q\]",
        ),
        (
            lambda: Retrained(HALVES, torch.zeros(6), torch.full((6, 2), torch.nan)),
            "12 outputs are not finite",
        ),
    ],
)
def test_bad_arguments_are_named(call, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        call()


def test_an_empty_folder_makes_no_table(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        read_retrained(tmp_path)
