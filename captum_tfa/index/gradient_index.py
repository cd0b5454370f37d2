"""The gradients of a training set, looked at once and kept small: ask them as often as you like."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.distributed as dist
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from captum_tfa.gradients import StoredGradients
from captum_tfa.gradients.independence import RandomState
from captum_tfa.index.building import fill
from captum_tfa.index.identity import IndexedData, of_score, refuse_other_score, refuse_others
from captum_tfa.index.locks import the_builder
from captum_tfa.index.projection import Projection
from captum_tfa.index.rows import Rows, fetch, read
from captum_tfa.index.settings import FILE, PARTS, PRECISIONS, Settings, scale_for
from captum_tfa.index.shards import BESIDE, ShardFiles, told_of_storage
from captum_tfa.scores import Score
from captum_tfa.scores.sum_of_scores import SumOfScores

# Examples of a shard, and the most that are searched at once.
SHARD_SIZE = 8192
_CHUNK = 8192


class GradientIndex:
    """Projections and exact norms of the gradients of all training examples, in a folder.

    `build` makes one and `open` finds it again. ``ScoreInfluence(score, index)`` ranks from it.
    The projections keep inner products up to a noise of about ``‖g‖‖g'‖ / √D``; norms are exact.

    Attributes:
        folder: where it lies.
        settings: what stands in its ``index.json``.
        data: the training set, if it was given: with it the best examples are scored again exactly.
    """

    def __init__(self, folder: Path, settings: Settings, data: IndexedData | None) -> None:
        self.folder, self.settings, self.data = folder, settings, data
        self._projection = Projection(settings.dimension, settings.seed)

    @classmethod
    def build(
        cls,
        score: Score,
        train_dataset: Dataset[Any] | DataLoader[Any],
        folder: str | os.PathLike[str],
        dimension: int = 2048,
        batch_size: int = 64,
        num_workers: int = 0,
        seed: int = 0,
        precision: str = "float16",
        show_progress: bool = False,
        shard_size: int = SHARD_SIZE,
    ) -> GradientIndex:
        """Walk once through a training set; go on where an unfinished index stands.

        If the folder holds an index of the same data set with fewer examples, those that were
        added at its end are appended. In a process group of ``torch.distributed`` every rank
        builds its share, and returns when all are done.

        Args:
            score: whose training gradients are kept: those of its model, ``loss_fn``,
                ``output_fn`` and ``parameters``. All else may be another when the index is asked,
                so an index of `GradCosScore` serves `InfluenceScore` as well.
            train_dataset: pairs ``(input, label)``, always the same for a number: a dataset with
                a length, or a loader of one that does not shuffle.
            folder: where the index lies or shall lie. It takes ``3 D + 20`` bytes an example.
            dimension: numbers kept of each gradient, ``D``, at least 1.
            batch_size: examples at once, for a dataset.
            num_workers: processes that load a dataset's examples.
            seed: of the projection, at least 0 and below 2⁶³.
            precision: of the kept numbers, ``"float16"`` or ``"float32"``.
            show_progress: whether images a second and the time left are shown.
            shard_size: examples of a file; processes share the work by files.

        Returns:
            The index, with the data set at hand.

        Raises:
            TypeError: an argument of the wrong kind, a stream, or a sum of scores (see
                `build_parts`).
            ValueError: an argument out of its range, or the folder holds an index of something
                else; both sides are shown.
            BlockingIOError: another process builds in this folder.
            OSError: the folder cannot be written to, or its disk is full.
            RuntimeError: a gradient that is not finite.
        """
        if not isinstance(score, Score):
            raise TypeError(
                f"score is a {type(score).__name__}; it must be a score such as "
                "GradCosScore(model)."
            )
        if isinstance(score, SumOfScores):
            raise TypeError(
                f"A {type(score).__name__} is a sum of scores, each with gradients of its own; "
                "build an index of each: build_parts(score, train_dataset, folder)."
            )
        _check_numbers(dimension=dimension, batch_size=batch_size, shard_size=shard_size)
        if isinstance(seed, bool) or not isinstance(seed, int) or not 0 <= seed < 2**63:
            raise ValueError(f"seed is {seed!r}; it must be a whole number from 0, below 2**63.")
        if precision not in PRECISIONS:
            raise ValueError(f"precision is {precision!r}; it must be one of {PRECISIONS}.")
        before = RandomState(torch.device("cpu"))
        try:
            data = IndexedData(train_dataset, batch_size, num_workers)
            rank, ranks = _place_among_processes()
            place = Path(folder).expanduser().resolve()
            wanted = Settings(
                dimension=int(dimension),
                seed=seed,
                precision=precision,
                scale=scale_for(dimension),
                shard_size=int(shard_size),
                count=data.count,
                sample=data.sample(data.count),
                preparation=data.preparation(),
                **of_score(score),
            )
            with told_of_storage(place):
                place.mkdir(parents=True, exist_ok=True)
            with told_of_storage(place), the_builder(place, rank, ranks):
                _begin(place, wanted, data)
                own = range(rank, wanted.shards, ranks)
                fill(place, wanted, score, data, own, show_progress)
        finally:
            before.put_back()
        if ranks > 1:
            dist.barrier()
        return cls(place, wanted, data)

    @classmethod
    def open(
        cls,
        folder: str | os.PathLike[str],
        train_dataset: Dataset[Any] | DataLoader[Any] | None = None,
    ) -> GradientIndex:
        """The index in a folder.

        Args:
            folder: where `build` put it.
            train_dataset: the data set of which it is. With it the best examples are scored again
                exactly, without it one gets the index's estimates.

        Raises:
            FileNotFoundError: there is no index.
            ValueError: its ``index.json`` is damaged, or it is of another data set; both sides
                are shown.
        """
        place = Path(folder).expanduser().resolve()
        settings = Settings.read(place)
        data = None
        if train_dataset is not None:
            before = RandomState(torch.device("cpu"))
            data = IndexedData(train_dataset, 64, 0)
            given = {"count": data.count, "sample": data.sample(data.count)}
            before.put_back()
            refuse_others(place, vars(settings), given)
        return cls(place, settings, data)

    def __len__(self) -> int:
        return self.settings.count

    @property
    def dimension(self) -> int:
        """Numbers of a projection, ``D``."""
        return self.settings.dimension

    @property
    def complete(self) -> bool:
        """Whether every training example is in it."""
        return all(self._shard(number).finished() for number in range(self.settings.shards))

    @property
    def coded(self) -> bool:
        """Whether it has every projection in 8 bits too; indices of earlier versions have not."""
        return all(self._shard(number).codes.exists() for number in range(self.settings.shards))

    @property
    def norms(self) -> Tensor:
        """``‖g‖`` of every training example, exact, ``[N]``, float32."""
        return torch.from_numpy(self._beside()["norm"].copy())

    @property
    def losses(self) -> Tensor:
        """The loss of every training example, ``[N]``, float32."""
        return torch.from_numpy(self._beside()["loss"].copy())

    def refuse_other_score(self, score: Score) -> None:
        """Raise if a score's training gradients are not those of this index.

        Raises:
            ValueError: it has another model, other weights, another loss or other parameters;
                both sides are shown.
        """
        refuse_other_score(self.settings, score, self.folder)

    def project(self, gradients: StoredGradients) -> Tensor:
        """The projections of gradients such as `Score.test_gradients` returns, ``[M, D]``."""
        return self._projection.of(gradients.by_name.items())[0]

    def project_back(self, vectors: Tensor) -> dict[str, Tensor]:
        """``Sᵀu``: the gradients with which those of examples have the products ``⟨φ, u⟩``.

        Args:
            vectors: ``u``, ``[M, D]``.

        Returns:
            By parameter name, ``[M, *parameter.shape]``.
        """
        shapes = self.settings.parameters.items()
        return {
            name: self._projection.back(vectors, name, torch.Size(shape)) for name, shape in shapes
        }

    def chunks(self, most: int = _CHUNK) -> Iterator[Rows]:
        """All examples in their order, some at a time.

        Args:
            most: how many at once.

        Raises:
            ValueError: the index is not finished, or a file is missing or has been cut.
        """
        return read(self.folder, self.settings, most, range(self.settings.shards))

    def picked(self, numbers: Tensor) -> Iterator[tuple[slice, Rows]]:
        """Some examples, a file's after the other's; files without any of them are left out.

        Args:
            numbers: of the examples, ``[m]``, in order; one may come several times.

        Yields:
            Where in ``numbers`` they stand, and the examples.
        """
        fetch(self.folder, self.settings, numbers)
        shards = (numbers // self.settings.shard_size).unique_consecutive().tolist()
        for rows in read(self.folder, self.settings, _CHUNK, shards):
            ends = torch.tensor([rows.start, rows.start + len(rows.norms)])
            here = slice(*torch.searchsorted(numbers, ends).tolist())
            if here.start < here.stop:
                yield here, rows.part(numbers[here] - rows.start)

    def verify(self) -> None:
        """Read all files and compare them with their checksums.

        Raises:
            ValueError: there is something wrong, or the index is not finished; every problem is
                named.
        """
        found = (self._shard(number).problem(True) for number in range(self.settings.shards))
        problems = [problem for problem in found if problem is not None]
        if problems:
            listed = "; ".join(problems[:8]) + ("; ..." if len(problems) > 8 else "")
            raise ValueError(
                f"The index in {self.folder} has {len(problems)} "
                f"problem{'s' if len(problems) > 1 else ''}: {listed}. Delete the damaged files "
                "and build it again with the same arguments: what is right stays."
            )

    def info(self) -> str:
        """What it is, in plain words."""
        settings = self.settings
        there = sum(self._shard(number).rows_there() for number in range(settings.shards))
        state = "finished" if self.complete else f"not finished: {there:,} are there"
        numbers = sum(int(np.prod(shape)) for shape in settings.parameters.values())
        size = sum(path.stat().st_size for path in self.folder.iterdir() if path.name != FILE)
        prepared = f", prepared by {settings.preparation}" if settings.preparation else ""
        return "\n".join(
            [
                f"Gradient index in {self.folder}, {state}",
                f"  {settings.count:,} training examples{prepared} (sample {settings.sample})",
                f"  model {settings.model}, {numbers:,} parameters in "
                f"{len(settings.parameters)} tensors",
                f"  loss {settings.loss}",
                f"  {settings.dimension:,} numbers of {settings.precision} an example, seed "
                f"{settings.seed}, and the exact norm",
                f"  {settings.shards} files of {settings.shard_size:,} examples, "
                f"{size / 1e6:,.1f} MB",
            ]
        )

    def _shard(self, number: int) -> ShardFiles:
        return ShardFiles(self.folder, self.settings, number)

    def _beside(self) -> NDArray[Any]:
        found = []
        for number in range(self.settings.shards):
            files = self._shard(number)
            files.refuse_unusable()
            found.append(np.fromfile(files.norms, BESIDE))
        return np.concatenate(found)


def _check_numbers(**numbers: Any) -> None:
    for name, value in numbers.items():
        whole = not isinstance(value, bool) and hasattr(value, "__index__")
        if not whole:
            raise TypeError(f"{name} is a {type(value).__name__}; give a whole number.")
        if value < 1:
            raise ValueError(f"{name} is {value}; it must be at least 1.")


def _place_among_processes() -> tuple[int, int]:
    """This process's rank, and how many build together."""
    if dist.is_available() and dist.is_initialized():
        return dist.get_rank(), dist.get_world_size()
    return 0, 1


def _begin(folder: Path, wanted: Settings, data: IndexedData) -> None:
    """Write ``index.json``, or find one that wants the same, perhaps of fewer examples.

    Raises:
        ValueError: the index there is of something else.
        OSError: there is not enough space.
    """
    if (folder / PARTS).exists():
        raise ValueError(
            f"{folder} holds indices of the parts of a sum of scores, and this is an index of one "
            "score; name another folder."
        )
    if (folder / FILE).exists():
        found = Settings.read(folder)
        expected = wanted
        if found.count < wanted.count:  # images were added at the end
            sample = data.sample(found.count)
            expected = dataclasses.replace(wanted, count=found.count, sample=sample)
        refuse_others(folder, vars(found), vars(expected))
    shards = [ShardFiles(folder, wanted, number) for number in range(wanted.shards)]
    _check_space(folder, shards)
    wanted.write(folder)


def _check_space(folder: Path, shards: list[ShardFiles]) -> None:
    space = os.statvfs(folder)
    free = space.f_bavail * space.f_frsize
    needed = sum(
        sum(shard.sizes.values()) * (1 - shard.rows_there() / len(shard.rows)) for shard in shards
    )
    if needed > free:
        raise OSError(
            f"The index in {folder} needs {needed / 1e6:,.1f} MB more, and {free / 1e6:,.1f} MB "
            "are free; make space, choose another folder, or a smaller dimension."
        )
