"""Indices for sums of scores: one for each checkpoint or model, in folders of their own."""

from __future__ import annotations

import os
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from captum_tfa.index.gradient_index import GradientIndex
from captum_tfa.index.sealed import read_sealed, write_sealed
from captum_tfa.index.settings import FILE, PARTS
from captum_tfa.index.shards import told_of_storage
from captum_tfa.index.trak_score import TrakScore
from captum_tfa.scores import Score, SumOfScores

_Data = Dataset[Any] | DataLoader[Any]

_FORMAT, _VERSION = "captum_tfa.index parts", 1


def build_parts(
    score: Score,
    train_dataset: _Data,
    folder: str | os.PathLike[str],
    seed: int = 0,
    **settings: Any,
) -> list[GradientIndex]:
    """An index for each part of a score, for TracIn one a checkpoint.

    Each has a projection of its own, so that the noise of projections averages out in the sum.
    A build that was stopped goes on, and parts that were added at the end are appended.

    Args:
        score: a sum of scores, such as `TracInScore` or `EnsembleScore`.
        train_dataset: as for `GradientIndex.build`.
        folder: the indices lie in ``000``, ``001``, ... of it, and how many they are is written
            to its ``parts.json`` when all are finished.
        seed: of the first projection; the next part's is one more.
        **settings: the others of `GradientIndex.build`.

    Returns:
        The indices in the order of the parts, for ``ScoreInfluence(score, indices)``.

    Raises:
        TypeError: the score is no sum; otherwise as `GradientIndex.build`.
        ValueError: the folder holds an index of one score, or more parts than the score has;
            otherwise as `GradientIndex.build`.
    """
    if not isinstance(score, SumOfScores):
        raise TypeError(
            f"score is a {type(score).__name__}, which is no sum of scores; give it to "
            "GradientIndex.build."
        )
    place = Path(folder).expanduser().resolve()
    if (place / FILE).exists():
        raise ValueError(
            f"{place} holds the index of one score, and a {type(score).__name__} needs one for "
            "each of its parts; name another folder."
        )
    before = _count(place) if (place / PARTS).exists() else 0
    found = []
    with closing(score.parts()) as parts:
        for number, (_, part) in enumerate(parts):
            own = {**settings, "seed": seed + number if number else seed}
            found.append(GradientIndex.build(part, train_dataset, _part(place, number), **own))
    if before > len(found):
        raise ValueError(
            f"{place} holds indices of {before} parts, and the {type(score).__name__} has "
            f"{len(found)}; give the same parts, or name another folder."
        )
    with told_of_storage(place):
        content = {"format": _FORMAT, "version": _VERSION, "parts": len(found)}
        write_sealed(place / PARTS, content)
    return found


def open_parts(
    folder: str | os.PathLike[str], train_dataset: _Data | None = None
) -> list[GradientIndex]:
    """The indices that `build_parts` put into a folder, in the order of the parts.

    Args:
        folder: where they lie.
        train_dataset: as for `GradientIndex.open`.

    Raises:
        FileNotFoundError: there are none, they are not all built, or one is missing.
        ValueError: they are of several data sets; otherwise as `GradientIndex.open`.
    """
    place = Path(folder).expanduser().resolve()
    if not (place / PARTS).is_file():
        if _of_parts(place):
            raise FileNotFoundError(
                f"The indices of parts in {place} are not all built ({PARTS} is missing); build "
                "them again with the same arguments: what is there stays, what is missing is made."
            )
        one = " It is one index: GradientIndex.open opens it." if (place / FILE).is_file() else ""
        raise FileNotFoundError(
            f"{place} holds no indices of the parts of a score ({PARTS} is missing); build_parts "
            f"or captum-tfa index build with --checkpoints or --ensemble makes them.{one}"
        )
    found = [
        GradientIndex.open(_part(place, number), train_dataset) for number in range(_count(place))
    ]
    refuse_several_data(found)
    return found


def open_folder(
    folder: str | os.PathLike[str], train_dataset: _Data | None = None
) -> list[GradientIndex]:
    """The one index in a folder, or those of `open_parts`, whichever lies there.

    Raises:
        FileNotFoundError: as `GradientIndex.open` and `open_parts`; likewise ``ValueError``.
    """
    if _of_parts(Path(folder).expanduser()):
        return open_parts(folder, train_dataset)
    return [GradientIndex.open(folder, train_dataset)]


def indices_of(given: object) -> list[GradientIndex] | None:
    """The indices that stand in the place of a training set; ``None`` if it is one."""
    several = given if isinstance(given, list | tuple) else [given]
    if several and all(isinstance(each, GradientIndex) for each in several):
        return list(several)
    return None


def refuse_several_data(indices: Sequence[GradientIndex]) -> None:
    """Raise if indices are not of the same training set.

    Raises:
        ValueError: with the number and sample of each.
    """
    samples = {(each.settings.count, each.settings.sample) for each in indices}
    if len(samples) > 1:
        raise ValueError(
            "The indices are of several data sets: "
            f"{', '.join(f'{count} examples {sample}' for count, sample in sorted(samples))}."
        )


def refuse_other_parts(score: Score, indices: Sequence[GradientIndex]) -> None:
    """Raise if indices are not those of a score: one, or for a sum one for each of its parts.

    Raises:
        TypeError: a `TrakScore`.
        ValueError: another number of them, or one of another model, loss or choice of parameters
            than its part; both sides are shown.
    """
    remaining, wrong, count = iter(indices), [], 0

    def of(part: Score) -> tuple[Tensor]:
        nonlocal count
        count += 1
        index = next(remaining, None)
        try:
            if index is not None:
                _refuse_other(part, index)
        except ValueError as error:
            wrong.append((count, error))
        return (torch.zeros(()),)

    score.over_parts(of)
    kind, summed = type(score).__name__, isinstance(score, SumOfScores)
    if count != len(indices):
        given = f"{len(indices)} {'index was' if len(indices) == 1 else 'indices were'} given for "
        if not summed:
            raise ValueError(
                f"{given}a score that is no sum of scores; give one index, or the sum that they "
                "are of: TracInScore or EnsembleScore (--score tracin --checkpoints, or "
                "--ensemble)."
            )
        raise ValueError(
            f"{given}the {count} part{'' if count == 1 else 's'} of a {kind}; give one for each, "
            "in their order (build_parts makes them, or captum-tfa index build with --checkpoints "
            "or --ensemble)."
        )
    if wrong and summed:
        number, error = wrong[0]
        raise ValueError(
            f"Part {number} of {count} of the {kind}: {error} The indices come in the order of the "
            "parts."
        )
    if wrong:
        raise wrong[0][1]


def _refuse_other(score: Score, index: GradientIndex) -> None:
    inner: Any = score
    while isinstance(getattr(inner, "score", None), Score):
        inner = inner.score
    if isinstance(inner, TrakScore):  # it has been projected: a second time adds noise
        raise TypeError(
            "TRAK ranks from an index by itself: give TrakInfluence(score, index), with "
            'GradDotScore(model, loss_fn="margin") as the score.'
        )
    index.refuse_other_score(score)


def _part(folder: Path, number: int) -> Path:
    return folder / f"{number:03d}"


def _of_parts(folder: Path) -> bool:
    """Whether indices of parts lie there, perhaps not all of them."""
    if (folder / FILE).is_file():
        return False
    return (folder / PARTS).is_file() or (_part(folder, 0) / FILE).is_file()


def _count(folder: Path) -> int:
    """How many parts were built there.

    Raises:
        ValueError: the file that says so is damaged, or of another version.
    """
    content = read_sealed(folder / PARTS)
    form, version = content.get("format"), content.get("version")
    if (form, version) != (_FORMAT, _VERSION):
        raise ValueError(
            f"{folder / PARTS} is of {form} version {version}; this package reads {_FORMAT} "
            f"version {_VERSION}. Build the indices again."
        )
    return int(content["parts"])
