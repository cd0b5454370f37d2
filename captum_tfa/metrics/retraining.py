"""What would the model have said, had it been trained on other data?  Trained anew, it says so.

The ground truth of data attribution, and what it costs: one training for each changed training
set and seed. What each model says is kept in a folder as it comes (see `RunFolder`), seed by seed,
so that a run that was killed goes on where it was, and whatever is there makes a table.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.utils.data import Dataset
from tqdm.auto import tqdm

from captum_tfa.metrics.fresh_start import Beginnings, Train, Weights
from captum_tfa.metrics.measured_output import MeasuredOutput
from captum_tfa.metrics.run_folder import RunFolder

Measure = Callable[[nn.Module], Tensor]
"""From a trained model to one number for each test image, ``[Q]``, such as `MeasuredOutput`."""

_OUTPUTS = "outputs"


class Change(NamedTuple):
    """A changed training set.

    Attributes:
        dataset: What is trained on.
        record: What was changed, as tensors to be kept beside the outputs: members, masks, ...
    """

    dataset: Dataset[Any]
    record: Mapping[str, Tensor]


def read_runs(directory: str | os.PathLike[str]) -> Iterator[tuple[str, int, Any]]:
    """``(name of the change, seed, run)`` of every model in a folder, by name and seed."""
    folder = RunFolder(directory)
    for name in folder.names():
        run = folder.read(name)
        if run is not None:
            yield run.facts["change"], run.facts["seed"], run


def retrain_each(
    train: Train,
    changes: Mapping[str, Change],
    measure: Measure,
    directory: str | os.PathLike[str],
    *,
    seeds: Sequence[int] = (0,),
    settings: Mapping[str, Any] | None = None,
    start: nn.Module | None = None,
    show_progress: bool = False,
) -> dict[str, Tensor]:
    """Trains a model on each changed training set with each seed, and keeps what it says.

    Args:
        train: As in `retrain_subsets`.
        changes: The changed training sets, by name.
        measure: As in `retrain_subsets`, likewise all that follow.
        directory: Where the outputs are kept.
        seeds: Seeds of training: all changes with the first, then all with the second, ...
        settings: What else the results depend on.
        start: None trains from scratch. A checkpoint: every training must go on from its weights,
            which is checked, and is the only thing that ``start`` is used for.
        show_progress: Show a progress bar over the trainings.

    Returns:
        Outputs by name of the change, ``[S, Q]`` each.

    Raises:
        ValueError: As `retrain_subsets`, likewise ``TypeError``; or no change.
    """
    if not changes or not seeds or len(set(seeds)) != len(seeds):
        raise ValueError(
            f"there are {len(changes)} training sets and the seeds {list(seeds)}; give at least "
            "one of each, no seed twice"
        )
    told = dict(settings or {})
    told["start"] = "fresh" if start is None else "checkpoint"
    if isinstance(measure, MeasuredOutput):
        told.update(measure.settings)
    folder = RunFolder(directory, told)
    todo = [
        (name, seed)
        for seed in seeds
        for name in changes
        if _known(folder, name, seed, changes[name]) is None
    ]
    beginnings = Beginnings(train, start)
    for place, (name, seed) in enumerate(
        tqdm(todo, "retraining", unit="model", disable=not show_progress)
    ):
        if place == 0:
            first = beginnings.check(changes[name].dataset, seed, measure)
            _compare_with_folder(folder, seed, first)
        begun = time.monotonic()
        model, began = beginnings.run(changes[name].dataset, seed)
        facts = {
            "change": name,
            "seed": seed,
            "began": None if began is None else list(began),
            "seconds": round(time.monotonic() - begun, 3),
        }
        folder.write(
            _file(name, seed), {**changes[name].record, _OUTPUTS: _measured(measure, model)}, facts
        )
    return {
        name: torch.stack([_known(folder, name, seed, change) for seed in seeds])  # type: ignore[misc]
        for name, change in changes.items()
    }


def _file(name: str, seed: int) -> str:
    return f"{name}, seed {seed}"


def _known(folder: RunFolder, name: str, seed: int, change: Change) -> Tensor | None:
    """The outputs ``[Q]`` that the folder has for this change and seed.

    Raises:
        ValueError: They are those of another change under the same name.
    """
    run = folder.read(_file(name, seed))
    if run is None:
        return None
    for key, ours in change.record.items():
        theirs = run.tensors.get(key)
        if theirs is None or not torch.equal(theirs, ours.cpu()):
            raise ValueError(
                f"{folder.path} has {name!r} with other {key}: {_sketch(theirs)} there, "
                f"{_sketch(ours)} now. Name another folder, or ask for the same"
            )
    return run.tensors[_OUTPUTS]


def _sketch(tensor: Tensor | None) -> str:
    if tensor is None:
        return "none"
    if tensor.dtype == torch.bool and tensor.dim() == 1:
        tensor = tensor.nonzero().flatten()
    values = ", ".join(f"{value:g}" for value in tensor.flatten()[:8].tolist())
    return f"{list(tensor.shape)} ({values}{', ...' if tensor.numel() > 8 else ''})"


def _compare_with_folder(folder: RunFolder, seed: int, first: Weights | None) -> None:
    """Refuses to add models of another network, or another initialisation, to a folder."""
    for name in folder.names():
        run = folder.read(name)
        if run is None or run.facts["seed"] != seed:
            continue
        theirs, ours = run.facts["began"], None if first is None else list(first)
        if theirs != ours:
            raise ValueError(
                f"the models in {folder.path} with seed {seed} began at weights "
                f"{theirs and theirs[:2]}, ... and now it is {ours and ours[:2]}, ...: the network "
                "or its initialisation is another. Name another folder"
            )
        return


def _measured(measure: Measure, model: nn.Module) -> Tensor:
    outputs = measure(model)
    if not isinstance(outputs, Tensor) or outputs.dim() != 1 or not outputs.isfinite().all():
        given = list(outputs.shape) if isinstance(outputs, Tensor) else type(outputs).__name__
        raise ValueError(
            f"measure gave {given} for a model, or numbers that are not finite; it must give one "
            "finite number a test image, [Q]"
        )
    return outputs.detach().double().cpu()
