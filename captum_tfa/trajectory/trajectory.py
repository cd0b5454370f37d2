"""The states that a model went through in training, read one after the other.

Nothing is read before it is needed, and never more than two states are held.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import chain, pairwise
from pathlib import Path
from typing import Any, NamedTuple

from safetensors import SafetensorError, safe_open
from torch import Tensor

from captum_tfa.trajectory.state_files import read_state

StateSource = Mapping[str, Tensor] | str | Path | Callable[[], Mapping[str, Tensor]]
"""A state dict, a file of one, or a function that returns one."""

FACTS = "trajectory"
"""The name under which a recorded file's metadata tell its step, learning rates and batches."""
ENDINGS = (".safetensors", ".pt", ".pth")


class Step(NamedTuple):
    """Two neighbouring states of a trajectory.

    Attributes:
        number: of this pair, from 0.
        before: the state before it.
        after: the state after it.
        names: what the two are called in messages.
    """

    number: int
    before: Mapping[str, Tensor]
    after: Mapping[str, Tensor]
    names: tuple[str, str]


class Trajectory:
    """States ``θ_0 … θ_T`` of one training, in order.

    Args:
        states: state dicts, files of them (``.safetensors``, ``.pt`` with tensors alone), or
            functions that return one; at least one.
        steps: how many steps of the optimizer led to each state, strictly rising, or strictly
            falling for a walk backwards. ``None``: 0, 1, 2, ...
        learning_rates: for each two neighbouring states the learning rate of the step between them
            (the sum over the steps, if there are several), ``[T]``.
        batches: likewise the indices of the training examples that were learned from.

    Attributes:
        states: as they were given.
        steps: the step numbers.
        learning_rates: as they were given, or ``None``.
        batches: likewise.

    Raises:
        TypeError: a state is none of these.
        ValueError: no state; numbers that do not match, do not rise, or are not finite.

    Example::

        >>> trajectory = Trajectory.open("states")
        >>> XtrAIn(model, trajectory).attribute(images, target=labels)
    """

    def __init__(
        self,
        states: Sequence[StateSource],
        steps: Sequence[int] | None = None,
        learning_rates: Sequence[float] | None = None,
        batches: Sequence[Sequence[int]] | None = None,
    ) -> None:
        if isinstance(states, Mapping | str | Path) or not hasattr(states, "__iter__"):
            raise TypeError(
                f"states is a {type(states).__name__}; give a list of state dicts, of files or of "
                "functions that return a state dict; Trajectory.open(folder) takes a folder."
            )
        self.states = list(states)
        if not self.states:
            raise ValueError("states is empty; a trajectory has at least one state.")
        for state in self.states:
            if not (isinstance(state, Mapping | str | Path) or callable(state)):
                raise TypeError(
                    f"states holds a {type(state).__name__}; give state dicts, files "
                    "(.safetensors, .pt) or functions that return a state dict."
                )
        self.steps = _rising(range(len(self.states)) if steps is None else steps, len(self.states))
        between = len(self.states) - 1
        self.learning_rates = (
            None if learning_rates is None else [float(rate) for rate in learning_rates]
        )
        self.batches = None if batches is None else [[*map(int, batch)] for batch in batches]
        for name, given in (("learning_rates", self.learning_rates), ("batches", self.batches)):
            if given is not None and len(given) != between:
                raise ValueError(
                    f"{len(given)} {name} came for {len(self.states)} states; give one for each "
                    f"two neighbours, {between}."
                )
        if not all(map(math.isfinite, self.learning_rates or ())):
            raise ValueError(f"learning_rates holds {self.learning_rates}; they must be finite.")

    @classmethod
    def open(cls, folder: str | Path) -> Trajectory:
        """The trajectory whose states lie in a folder, such as a `TrajectoryRecorder` wrote.

        A file's step is the last number in its name: ``state-00000012.safetensors``,
        ``epoch12.pt``. What else lies in the folder is left alone.

        Args:
            folder: with ``.safetensors``, ``.pt`` or ``.pth`` files.

        Raises:
            ValueError: no folder, no such file, a name without a number, two files of one step, a
                file that does not begin as it should, or a gap: a file is missing between others.
        """
        folder = Path(folder).expanduser()
        if not folder.is_dir():
            what = "is no folder" if folder.exists() else "does not exist"
            raise ValueError(f"{folder} {what}; name a folder with the states of a training.")
        files = state_files(folder)
        if not files:
            raise ValueError(f"{folder} holds no state; files end in {', '.join(ENDINGS)}.")
        steps = list(files)
        missing = gap(steps)
        if missing:
            raise ValueError(
                f"{folder} has a gap: {missing}. Put the missing states back, or say which ones "
                "you mean: Trajectory(files, steps=...)."
            )
        facts = [facts_of(file) for file in files.values()][1:]
        rates: Any = [fact.get("learning_rate") for fact in facts]
        batches: Any = [fact.get("batch") for fact in facts]
        return cls(
            list(files.values()),
            steps,
            None if None in rates else rates,
            None if None in batches else batches,
        )

    def __len__(self) -> int:
        """How many states there are."""
        return len(self.states)

    def __getitem__(self, place: int) -> Mapping[str, Tensor]:
        """One state, read now, by its place (not its step number).

        Raises:
            ValueError: its file is broken, or holds anything but tensors.
            TypeError: its function returned no state dict.
        """
        source = self.states[place]
        if isinstance(source, Mapping):
            return source
        if isinstance(source, str | Path):
            return read_state(source)
        state = source()
        if not isinstance(state, Mapping):
            raise TypeError(
                f"{self.name_of(place)} gave a {type(state).__name__}; it must give a state dict."
            )
        return state

    def name_of(self, place: int) -> str:
        """What a state is called in messages."""
        source = self.states[place]
        named = f", {source}" if isinstance(source, str | Path) else ""
        return f"state {place} of the trajectory (step {self.steps[place]}{named})"

    def pairs(self) -> Iterator[Step]:
        """Every two neighbouring states; a caller who lets each go has two in memory at most."""
        after = self[0]
        for number in range(len(self) - 1):
            before = after
            del after
            after = self[number + 1]
            names = (self.name_of(number), self.name_of(number + 1))
            step = Step(number, before, after, names)
            del before
            yield step
            del step

    def only(self, steps: Sequence[int]) -> Trajectory:
        """The states of some steps alone, as another trajectory.

        Args:
            steps: some of the step numbers, in the trajectory's own order.

        Raises:
            ValueError: a step of which there is no state; see also the class.
        """
        wanted = [int(step) for step in steps]
        unknown = [step for step in wanted if step not in self.steps]
        if unknown:
            raise ValueError(
                f"there is no state of step {unknown[0]}; the trajectory has steps "
                f"{_told(self.steps)}."
            )
        places = [self.steps.index(step) for step in wanted]
        between = [slice(a, b) for a, b in pairwise(places)]
        rates, batches = self.learning_rates, self.batches
        summed = None if rates is None else [sum(rates[part]) for part in between]
        joined = (
            None if batches is None else [[*chain.from_iterable(batches[part])] for part in between]
        )
        return Trajectory([self.states[place] for place in places], wanted, summed, joined)

    def backwards(self) -> Trajectory:
        """The same states from the last to the first."""
        rates, batches = self.learning_rates, self.batches
        return Trajectory(
            self.states[::-1],
            self.steps[::-1],
            None if rates is None else rates[::-1],
            None if batches is None else batches[::-1],
        )


def state_files(folder: Path) -> dict[int, Path]:
    """The state files of a folder by their step, in order; empty if there are none.

    Raises:
        ValueError: a name without a number, or two files of one step.
    """
    found: dict[int, Path] = {}
    for file in sorted(folder.iterdir()):
        if file.suffix not in ENDINGS or file.name.startswith(".") or not file.is_file():
            continue
        numbers = re.findall(r"\d+", file.stem)
        if not numbers:
            raise ValueError(
                f"{file} has no step number in its name; call it like state-12{file.suffix}, or "
                "take it out of the folder."
            )
        step = int(numbers[-1])
        if step in found:
            raise ValueError(
                f"{found[step]} and {file} are both of step {step}; keep one of them in the folder."
            )
        found[step] = file
    return dict(sorted(found.items()))


def gap(steps: Sequence[int]) -> str:
    """Which states are missing, in words; empty if none.

    Neighbours are as far apart as the first two; only the last may come sooner.
    """
    if steps[0] > steps[-1]:
        steps = steps[::-1]
    ways = [b - a for a, b in pairwise(steps)]
    if len(ways) < 2:
        return ""
    usual = min(ways[:-1])
    for place, way in enumerate(ways):
        if way > usual or (way < usual and place < len(ways) - 1):
            return f"steps {steps[place]} and {steps[place + 1]} are {way} apart, others {usual}"
    return ""


def facts_of(file: Path) -> dict[str, Any]:
    """What a recorder wrote beside the tensors; empty if nothing."""
    if file.suffix != ".safetensors":
        return {}
    try:
        with safe_open(file, "pt") as opened:
            told = (opened.metadata() or {}).get(FACTS, "{}")
        facts = json.loads(told)
    except (SafetensorError, OSError, ValueError) as error:
        raise ValueError(f"{file} is no whole safetensors file ({error}); delete it.") from error
    return facts if isinstance(facts, dict) else {}


def _rising(steps: Sequence[int], count: int) -> list[int]:
    numbers = [int(step) for step in steps]
    if len(numbers) != count:
        raise ValueError(f"{len(numbers)} steps came for {count} states; give one for each.")
    ways = [b - a for a, b in pairwise(numbers)]
    if not (all(way > 0 for way in ways) or all(way < 0 for way in ways)):
        raise ValueError(
            f"steps are {_told(numbers)}; they must rise from state to state, or fall for a walk "
            "backwards."
        )
    return numbers


def _told(steps: Sequence[int]) -> str:
    listed = [str(step) for step in steps]
    return ", ".join(listed if len(listed) < 8 else [*listed[:3], "...", *listed[-2:]])
