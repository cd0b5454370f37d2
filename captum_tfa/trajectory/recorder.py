"""A training's states, written to a folder while it runs.

A normal training loop needs one line more. States are written in a thread of their own, each whole
or not at all, so a training that is killed leaves a trajectory that can be read and continued.
"""

from __future__ import annotations

import json
import queue
import threading
from collections.abc import Iterable
from pathlib import Path
from types import TracebackType
from typing import Any

import torch
from safetensors.torch import save
from torch import Tensor, nn

from captum_tfa.trajectory.state_files import State, read_state
from captum_tfa.trajectory.trajectory import FACTS, facts_of, state_files
from captum_tfa.whole_file import whole_file

# As many copies of the model wait to be written at most; then training waits.
_WAITING = 2


class TrajectoryRecorder:
    """Writes the state of a model after the optimizer's steps, for `Trajectory.open`.

    The state at the beginning is written too, and the last one when the recorder is closed. The
    training's own numbers are the same with it and without it.

    In a folder that holds states already the training goes on: load your own checkpoint into the
    model (and the optimizer) first. Where the model is one of the recorded states, that says how
    far it has come; states of later steps are dropped when the next one is written.

    Args:
        model: the model in training.
        optimizer: whose steps count.
        folder: where to; made if it is not there.
        every: steps from one state to the next, at least 1.
        keep: how many states at most stay in the folder, the newest ones, at least 2. ``None``:
            all, which `XtrAIn` wants.
        start: steps that the model has made already. ``None``: 0 in a new folder, in one with
            states that of the state which the model is in.

    Raises:
        TypeError: no module, no optimizer; a state dict that holds anything but tensors.
        ValueError: numbers out of range; a folder whose states are of another model, another
            ``every``, or of which the model is none.

    Example::

        >>> with TrajectoryRecorder(model, optimizer, "states") as recorder:
        ...     for indices, images, labels in loader:
        ...         recorder.batch(indices)  # if the split over training examples is wanted
        ...         ...
        ...         optimizer.step()
    """

    def __init__(
        self,
        model: nn.Module,
        optimizer: torch.optim.Optimizer,
        folder: str | Path,
        every: int = 1,
        keep: int | None = None,
        start: int | None = None,
    ) -> None:
        _check(model, optimizer, every, keep, start)
        self.model, self.optimizer = model, optimizer
        self.folder = Path(folder).expanduser()
        self.every, self.keep = every, keep
        self.folder.mkdir(parents=True, exist_ok=True)
        there = state_files(self.folder)
        self.step = _steps_made(model, there, every, start)
        self._first = min(there, default=self.step)
        self._stale = [
            file for step, file in there.items() if step > self.step or not self._due(step)
        ]
        self._rates, self._batches = self._since_last(there)
        self._next_batch: list[int] | None = None
        self._written = max((step for step in there if step <= self.step), default=-1)
        self._error: BaseException | None = None
        self._queue: queue.Queue[tuple[Path, State, dict[str, str]] | None] = queue.Queue(_WAITING)
        self._thread = threading.Thread(target=self._write_all, daemon=True)
        self._thread.start()
        self._hook = optimizer.register_step_post_hook(self._after_step)
        self._open = True
        if not there:
            self._put()

    def batch(self, indices: Iterable[int] | Tensor) -> None:
        """Notes from which training examples the coming step learns.

        Args:
            indices: their places in the training set.
        """
        self._next_batch = [int(index) for index in indices]

    def close(self) -> None:
        """Writes what waits, and the last state; the optimizer is as before.

        Raises:
            RuntimeError: a state could not be written.
        """
        if not self._open:
            return
        self._open = False
        self._hook.remove()
        if self._written != self.step and self._error is None:
            self._put()
        self._queue.put(None)
        self._thread.join()
        self._raise()

    def __enter__(self) -> TrajectoryRecorder:
        """Itself."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Closes it, also after an exception of the training."""
        self.close()

    def _after_step(self, optimizer: torch.optim.Optimizer, *_: Any) -> None:
        self._raise()
        self.step += 1
        rates = {float(group["lr"]) for group in optimizer.param_groups}
        self._rates.append(rates.pop() if len(rates) == 1 else None)
        self._batches.append(self._next_batch)
        self._next_batch = None
        if self._due(self.step):
            self._put()

    def _due(self, step: int) -> bool:
        return (step - self._first) % self.every == 0

    def _since_last(
        self, there: dict[int, Path]
    ) -> tuple[list[float | None], list[list[int] | None]]:
        """Learning rates and batches of the steps since the last state that stays."""
        if self._due(self.step) or not there:
            return [], []
        facts = facts_of(there[self.step]) if self.step in there else {}
        return [facts.get("learning_rate")], [facts.get("batch")]

    def _put(self) -> None:
        """Gives the state as it is now to the writer."""
        state = {
            name: tensor.detach().to("cpu", copy=True).contiguous()
            for name, tensor in tensors_of(self.model).items()
        }
        rates, batches = self._rates, self._batches
        facts: dict[str, Any] = {"step": self.step, "every": self.every}
        if rates and None not in rates:
            facts["learning_rate"] = sum(rate for rate in rates if rate is not None)
        if batches and None not in batches:
            facts["batch"] = [index for batch in batches for index in batch or ()]
        self._rates, self._batches = [], []
        file = self.folder / f"state-{self.step:08d}.safetensors"
        self._queue.put((file, state, {FACTS: json.dumps(facts)}))
        self._written = self.step

    def _write_all(self) -> None:
        while (item := self._queue.get()) is not None:
            if self._error is None:
                try:
                    self._write(*item)
                except BaseException as error:  # told by the training's own thread
                    self._error = error
            del item

    def _write(self, file: Path, state: State, facts: dict[str, str]) -> None:
        with whole_file(file) as unfinished:
            unfinished.write_bytes(save(state, facts))
            for stale in self._stale:
                stale.unlink(missing_ok=True)
            self._stale = []
        if self.keep is not None:
            for old in list(state_files(self.folder).values())[: -self.keep]:
                old.unlink()

    def _raise(self) -> None:
        if self._error is not None:
            error = self._error
            self._hook.remove()
            raise RuntimeError(
                f"a state could not be written to {self.folder} ({error}); the states before it "
                "are whole. Make room, then go on from there."
            ) from error


def tensors_of(model: nn.Module) -> State:
    """The state dict of a model, as it is now.

    Raises:
        TypeError: it holds anything but tensors.
    """
    state = model.state_dict()
    for name, value in state.items():
        if not isinstance(value, Tensor):
            raise TypeError(
                f"the state dict holds {name}, a {type(value).__name__}; only tensors can be "
                "recorded: leave it out of get_extra_state."
            )
    return dict(state)


def _check(model: object, optimizer: object, every: object, keep: object, start: object) -> None:
    if not isinstance(model, nn.Module):
        raise TypeError(f"model is a {type(model).__name__}; it must be a torch.nn.Module.")
    if not isinstance(optimizer, torch.optim.Optimizer):
        raise TypeError(
            f"optimizer is a {type(optimizer).__name__}; it must be a torch.optim.Optimizer."
        )
    tensors_of(model)
    least = {"every": (every, 1), "keep": (keep, 2), "start": (start, 0)}
    for name, (given, lowest) in least.items():
        whole = isinstance(given, int) and not isinstance(given, bool)
        if given is None and name != "every":
            continue
        if not whole or given < lowest:  # type: ignore[operator]
            raise ValueError(f"{name} is {given!r}; it must be a whole number, at least {lowest}.")


def _steps_made(model: nn.Module, there: dict[int, Path], every: int, start: int | None) -> int:
    """How many steps a model has made that is trained on.

    Raises:
        ValueError: the folder's states are not of this training.
    """
    if not there:
        return start or 0
    first, newest = min(there), max(there)
    due = list(range(first, newest + 1, every))
    if list(there) not in (due, [*due, newest]):
        raise ValueError(
            f"the folder holds states of the steps {', '.join(map(str, there))}, which are not "
            f"{every} apart; go on with the same every, or name another folder."
        )
    if start is None:
        own = tensors_of(model)
        for step, file in reversed(there.items()):
            if _same(read_state(file), own):
                return step
        raise ValueError(
            f"the model is none of the states in the folder, whose newest is of step "
            f"{newest}. Load the checkpoint from which training goes on first, say with "
            "start= how many steps it has made, or name a new folder."
        )
    if not _fits(read_state(there[newest]), tensors_of(model)):
        raise ValueError("the folder's states are of another model; name a new folder.")
    if not first <= start <= due[-1] + every - 1:
        raise ValueError(
            f"start is {start}, but the folder holds the states of steps {first} to {newest}: "
            "states in between would be missing. Go on from a checkpoint of these steps, or name a "
            "new folder."
        )
    return start


def _fits(one: State, other: State) -> bool:
    shapes = [{name: tensor.shape for name, tensor in state.items()} for state in (one, other)]
    return shapes[0] == shapes[1]


def _same(one: State, other: State) -> bool:
    return _fits(one, other) and all(
        torch.equal(one[name], tensor.detach().cpu()) for name, tensor in other.items()
    )
