"""A training's states are written whole, in the background, and go on after a crash."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from captum_tfa import Trajectory, TrajectoryRecorder


def net() -> tuple[nn.Module, torch.optim.Optimizer]:
    torch.manual_seed(3)
    model = nn.Sequential(nn.Linear(4, 3), nn.BatchNorm1d(3), nn.ReLU(), nn.Linear(3, 2))
    return model, torch.optim.SGD(model.parameters(), 0.1)


def train(
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    steps: int,
    seen: list[dict[str, Any]] | None = None,
    recorder: TrajectoryRecorder | None = None,
) -> None:
    for step in range(steps):
        if recorder is not None:
            recorder.batch(torch.tensor([step, step + 1]))
        optimizer.zero_grad()
        model(torch.randn(5, 4)).square().sum().backward()
        optimizer.step()
        if seen is not None:
            seen.append({name: tensor.clone() for name, tensor in model.state_dict().items()})


def names(folder: Path) -> list[int]:
    return [int(file.stem.split("-")[1]) for file in sorted(folder.iterdir())]


def same(one: Any, other: Any) -> bool:
    return set(one) == set(other) and all(torch.equal(one[name], other[name]) for name in one)


def test_what_is_read_is_what_the_model_was(tmp_path: Path) -> None:
    model, optimizer = net()
    seen = [{name: tensor.clone() for name, tensor in model.state_dict().items()}]
    with TrajectoryRecorder(model, optimizer, tmp_path / "new" / "folder") as recorder:
        train(model, optimizer, 5, seen, recorder)
    trajectory = Trajectory.open(tmp_path / "new" / "folder")
    assert trajectory.steps == [0, 1, 2, 3, 4, 5]
    assert all(same(trajectory[place], seen[place]) for place in range(6))
    assert trajectory.learning_rates == pytest.approx([0.1] * 5)
    assert trajectory.batches == [[step, step + 1] for step in range(5)]


def test_every_some_steps_and_the_last_and_only_the_newest(tmp_path: Path) -> None:
    model, optimizer = net()
    with TrajectoryRecorder(model, optimizer, tmp_path, every=3, keep=3):
        train(model, optimizer, 11)
    assert names(tmp_path) == [6, 9, 11]
    assert Trajectory.open(tmp_path).learning_rates == pytest.approx([0.3, 0.2])
    assert Trajectory.open(tmp_path).batches is None


def test_a_killed_training_goes_on_as_if_it_had_not_been(tmp_path: Path) -> None:
    model, optimizer = net()
    with TrajectoryRecorder(model, optimizer, tmp_path / "whole", every=2):
        train(model, optimizer, 9)
    model, optimizer = net()
    recorder = TrajectoryRecorder(model, optimizer, tmp_path / "cut", every=2)
    train(model, optimizer, 4)
    checkpoint = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    random = torch.get_rng_state()
    train(model, optimizer, 3)
    recorder.close()  # the steps after the user's own checkpoint are made once more
    model, optimizer = net()
    model.load_state_dict(checkpoint)
    torch.set_rng_state(random)
    with TrajectoryRecorder(model, optimizer, tmp_path / "cut", every=2) as again:
        assert again.step == 4
        train(model, optimizer, 5)
    one, other = Trajectory.open(tmp_path / "whole"), Trajectory.open(tmp_path / "cut")
    assert one.steps == other.steps == [0, 2, 4, 6, 8, 9]
    assert all(same(one[place], other[place]) for place in range(6))
    assert one.learning_rates == pytest.approx(other.learning_rates)


def test_going_on_from_the_last_state_off_the_beat(tmp_path: Path) -> None:
    model, optimizer = net()
    with TrajectoryRecorder(model, optimizer, tmp_path, every=4) as recorder:
        train(model, optimizer, 6, recorder=recorder)
    with TrajectoryRecorder(model, optimizer, tmp_path, every=4) as recorder:
        train(model, optimizer, 3, recorder=recorder)
    trajectory = Trajectory.open(tmp_path)
    assert trajectory.steps == [0, 4, 8, 9]
    assert trajectory.learning_rates == pytest.approx([0.4, 0.4, 0.1])
    assert trajectory.batches is not None
    assert [len(batch) for batch in trajectory.batches] == [8, 8, 2]


def test_going_on_between_states_with_start(tmp_path: Path) -> None:
    model, optimizer = net()
    with TrajectoryRecorder(model, optimizer, tmp_path, every=4):
        train(model, optimizer, 5)
    train(model, optimizer, 1)
    with TrajectoryRecorder(model, optimizer, tmp_path, every=4, start=6):
        train(model, optimizer, 2)
    assert Trajectory.open(tmp_path).steps == [0, 4, 8]
    assert Trajectory.open(tmp_path).learning_rates is None  # steps 5 and 6 were not seen
    with pytest.raises(ValueError, match=r"start is 20, but .* steps 0 to 8"):
        TrajectoryRecorder(model, optimizer, tmp_path, every=4, start=20)


def test_a_folder_of_something_else_is_refused_and_stays(tmp_path: Path) -> None:
    model, optimizer = net()
    with TrajectoryRecorder(model, optimizer, tmp_path, every=2):
        train(model, optimizer, 4)
    train(model, optimizer, 1)
    with pytest.raises(ValueError, match="is none of the states in the folder, whose newest is"):
        TrajectoryRecorder(model, optimizer, tmp_path, every=2)
    with pytest.raises(ValueError, match="steps 0, 2, 4, which are not 3 apart"):
        TrajectoryRecorder(model, optimizer, tmp_path, every=3)
    other = nn.Linear(2, 2)
    with pytest.raises(ValueError, match="of another model"):
        TrajectoryRecorder(other, torch.optim.SGD(other.parameters(), 0.1), tmp_path, 2, start=4)
    assert names(tmp_path) == [0, 2, 4]


def test_a_state_that_cannot_be_written_is_told_and_leaves_no_half(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, optimizer = net()
    recorder = TrajectoryRecorder(model, optimizer, tmp_path)
    train(model, optimizer, 1)
    while len(names(tmp_path)) < 2:
        threading.Event().wait(0.01)

    def full(self: Path, target: Path) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "replace", full)
    with pytest.raises(RuntimeError, match=r"could not be written .* states before it are whole"):
        train(model, optimizer, 500)
    with pytest.raises(RuntimeError, match="No space left"):
        recorder.close()
    assert names(tmp_path) == [0, 1]
    assert not optimizer._optimizer_step_post_hooks


def test_a_failing_training_leaves_what_it_reached(tmp_path: Path) -> None:
    model, optimizer = net()

    def broken_off() -> None:
        with TrajectoryRecorder(model, optimizer, tmp_path, every=5):
            train(model, optimizer, 7)
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        broken_off()
    assert names(tmp_path) == [0, 5, 7]
    assert not optimizer._optimizer_step_post_hooks


def test_bad_arguments_are_refused(tmp_path: Path) -> None:
    model, optimizer = net()
    for arguments, error, message in [
        ((3, optimizer, tmp_path), TypeError, "model is a int"),
        ((model, 3, tmp_path), TypeError, "optimizer is a int"),
        ((model, optimizer, tmp_path, 0), ValueError, "every is 0; it must be a whole number"),
        ((model, optimizer, tmp_path, 1, 1), ValueError, "keep is 1; .* at least 2"),
        ((model, optimizer, tmp_path, 1, None, -1), ValueError, "start is -1"),
    ]:
        with pytest.raises(error, match=message):
            TrajectoryRecorder(*arguments)  # type: ignore[arg-type]
    assert not list(tmp_path.iterdir())

    class Extra(nn.Linear):
        def get_extra_state(self) -> Any:
            return "words"

    extra = Extra(2, 2)
    with pytest.raises(TypeError, match="holds _extra_state, a str; only tensors"):
        TrajectoryRecorder(extra, torch.optim.SGD(extra.parameters(), 0.1), tmp_path)
