"""A trajectory reads its states one after the other, in order, and refuses what is none."""

from __future__ import annotations

import gc
import pickle
import weakref
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from captum_tfa import TracInScore, Trajectory, XtrAIn
from tests.trajectory.test_state_files import Hostile


def states(count: int) -> list[dict[str, Tensor]]:
    return [{"weight": torch.full((2, 3), float(n)), "bias": torch.zeros(2)} for n in range(count)]


def test_neighbours_come_in_order_from_dicts_files_and_functions(tmp_path: Path) -> None:
    save_file(states(3)[1], tmp_path / "a.safetensors")
    torch.save(states(3)[2], tmp_path / "b.pt")
    given = [states(1)[0], tmp_path / "a.safetensors", str(tmp_path / "b.pt"), lambda: states(4)[3]]
    trajectory = Trajectory(given, [0, 10, 20, 25])
    pairs = [
        (float(s.before["weight"][0, 0]), float(s.after["weight"][0, 0]))
        for s in trajectory.pairs()
    ]
    assert pairs == [(0, 1), (1, 2), (2, 3)]
    assert len(trajectory) == 4
    back = trajectory.backwards()
    assert back.steps == [25, 20, 10, 0]
    assert float(back[0]["weight"][0, 0]) == 3


def test_two_states_are_held_at_most() -> None:
    alive: list[weakref.ref[Tensor]] = []
    most = 0

    def read(number: int) -> dict[str, Tensor]:
        nonlocal most
        gc.collect()
        state = states(number + 1)[number]
        alive.append(weakref.ref(state["weight"]))
        most = max(most, sum(one() is not None for one in alive))
        return state

    trajectory = Trajectory([lambda n=n: read(n) for n in range(6)])  # type: ignore[misc]
    model = nn.Linear(3, 2)
    XtrAIn(model, trajectory).attribute(torch.ones(1, 3), 1)
    assert len(alive) == 6
    assert most == 2


def test_some_steps_take_their_rates_and_batches_along() -> None:
    trajectory = Trajectory(states(4), None, [0.1, 0.2, 0.3], [[1], [2, 3], [4]])
    some = trajectory.only([0, 2, 3])
    assert some.steps == [0, 2, 3]
    assert some.learning_rates == pytest.approx([0.3, 0.3])
    assert some.batches == [[1, 2, 3], [4]]
    with pytest.raises(ValueError, match="no state of step 7; the trajectory has steps 0, 1, 2, 3"):
        trajectory.only([0, 7])


def test_a_folder_is_opened_by_the_numbers_in_the_names(tmp_path: Path) -> None:
    for number in (0, 2, 10, 8, 4, 6):
        if number % 4:
            torch.save({"w": torch.tensor([float(number)])}, tmp_path / f"epoch{number}.pt")
        else:
            save_file({"w": torch.tensor([float(number)])}, tmp_path / f"epoch{number}.safetensors")
    (tmp_path / "notes.txt").write_text("not a state")
    (tmp_path / ".state-11.safetensors.1a2b").write_text("unfinished")
    trajectory = Trajectory.open(tmp_path)
    assert trajectory.steps == [0, 2, 4, 6, 8, 10]
    assert [float(trajectory[place]["w"]) for place in range(6)] == [0, 2, 4, 6, 8, 10]
    assert trajectory.learning_rates is None


@pytest.mark.parametrize(
    ("names", "message"),
    [
        ([], "holds no state"),
        (["a.pt"], "has no step number in its name"),
        (["a1.pt", "b01.pt"], "are both of step 1"),
        (["0.pt", "1.pt", "3.pt"], "has a gap: steps 1 and 3 are 2 apart, others 1"),
        (["0.pt", "2.pt", "3.pt", "5.pt"], "has a gap: steps 0 and 2 are 2 apart, others 1"),
    ],
)
def test_a_folder_that_is_no_trajectory_is_refused(
    tmp_path: Path, names: list[str], message: str
) -> None:
    for name in names:
        torch.save({"w": torch.zeros(1)}, tmp_path / name)
    with pytest.raises(ValueError, match=message):
        Trajectory.open(tmp_path)
    assert sorted(file.name for file in tmp_path.iterdir()) == sorted(names)


def test_there_must_be_a_folder(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="does not exist"):
        Trajectory.open(tmp_path / "none")
    (tmp_path / "file").write_text("")
    with pytest.raises(ValueError, match="is no folder"):
        Trajectory.open(tmp_path / "file")


def test_the_last_state_may_come_sooner(tmp_path: Path) -> None:
    for number in (0, 10, 20, 23):
        torch.save({"w": torch.zeros(1)}, tmp_path / f"{number}.pt")
    assert Trajectory.open(tmp_path).steps == [0, 10, 20, 23]


def test_truncated_and_hostile_files_are_refused_and_never_run(tmp_path: Path) -> None:
    for number in range(3):
        save_file({"w": torch.zeros(100)}, tmp_path / f"{number}.safetensors")
    whole = (tmp_path / "1.safetensors").read_bytes()
    (tmp_path / "1.safetensors").write_bytes(whole[:-40])
    with pytest.raises(ValueError, match=r"1\.safetensors is no whole safetensors file"):
        Trajectory.open(tmp_path)
    (tmp_path / "1.safetensors").unlink()
    (tmp_path / "1.pt").write_bytes(pickle.dumps({"w": Hostile()}))
    trajectory = Trajectory.open(tmp_path)
    with pytest.raises(ValueError, match="was not run"):
        trajectory[1]


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        (([],), ValueError, "states is empty"),
        (("folder",), TypeError, r"states is a str; .*Trajectory\.open"),
        (([3],), TypeError, "states holds a int"),
        ((states(2), [0]), ValueError, "1 steps came for 2 states"),
        ((states(3), [0, 2, 1]), ValueError, "steps are 0, 2, 1; they must rise"),
        ((states(2), [4, 4]), ValueError, "must rise"),
        ((states(3), None, [0.1]), ValueError, "1 learning_rates came for 3 states"),
        ((states(2), None, [float("nan")]), ValueError, "must be finite"),
        ((states(2), None, None, []), ValueError, "0 batches came for 2 states"),
    ],
)
def test_bad_arguments_are_refused(
    arguments: tuple[Any, ...], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        Trajectory(*arguments)


def test_a_function_must_return_a_state() -> None:
    with pytest.raises(TypeError, match=r"state 0 of the trajectory \(step 0\) gave a int"):
        Trajectory([lambda: 3])[0]  # type: ignore[list-item,return-value]


def test_tracin_takes_it_as_its_checkpoints() -> None:
    model = nn.Linear(3, 2)
    train, test = torch.randn(4, 3), torch.randn(1, 3)
    given = TracInScore(model, Trajectory(states(3)), 0.5)(
        train, test, 1, torch.tensor([0, 1, 0, 1])
    )
    right = TracInScore(model, states(3), 0.5)(train, test, 1, torch.tensor([0, 1, 0, 1]))
    assert torch.equal(given, right)
