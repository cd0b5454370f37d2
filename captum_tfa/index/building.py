"""The walk through the training set that fills an index, in one process or in many.

Every process fills whole shards, those whose number leaves its rank over when it is divided by how
many processes there are. They meet in the folder alone: none waits for another, and one that died
is simply started again.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from tqdm.auto import tqdm

from captum_tfa.gradients import Gradients
from captum_tfa.index.identity import IndexedData
from captum_tfa.index.projection import Projection
from captum_tfa.index.settings import Settings
from captum_tfa.index.shards import BESIDE, ShardFiles, growing, told_of_storage
from captum_tfa.scores import Score
from captum_tfa.scores.score import vanishing


def fill(
    folder: Path,
    settings: Settings,
    score: Score,
    data: IndexedData,
    own: Sequence[int],
    show_progress: bool,
) -> None:
    """Build the shards that are not finished yet.

    Args:
        folder: of the index.
        settings: of the index.
        score: whose training gradients are projected.
        data: the examples.
        own: the numbers of this process's shards.
        show_progress: whether there is a progress bar.

    Raises:
        OSError: the folder cannot be written to, or is full.
    """
    shards = [ShardFiles(folder, settings, number) for number in own]
    done = sum(shard.rows_there() for shard in shards)
    total = sum(len(shard.rows) for shard in shards)
    projector = _Projector(score, settings)
    with tqdm(
        total=total, initial=done, desc="indexing", unit="image", disable=not show_progress
    ) as bar:
        for shard in shards:
            if not shard.finished():
                _fill_one(folder, shard, projector, data, bar)


def _fill_one(
    folder: Path, files: ShardFiles, projector: _Projector, data: IndexedData, bar: Any
) -> None:
    with told_of_storage(folder), growing(files, data.batch_size) as shard:
        bar.update(shard.done - files.rows_there())  # an unfinished batch is done again
        rows = files.rows[shard.done :]
        if rows:
            for batch in data.batches(rows, projector.device):
                start = files.rows.start + shard.done
                shard.add(*projector.of(batch.inputs, batch.labels, start))
                bar.update(len(batch))
        shard.finish()


class _Projector:
    """From training images to what an index keeps of them."""

    def __init__(self, score: Score, settings: Settings) -> None:
        self.score, self.settings = score, settings
        self.device = next(score.model.parameters()).device
        self._projection = Projection(settings.dimension, settings.seed)
        self._warm = False

    def of(
        self, inputs: tuple[Tensor, ...], labels: Tensor, start: int
    ) -> tuple[NDArray[Any], NDArray[Any]]:
        """Stored projections ``[B, D]``, and norms and losses ``[B]``.

        Raises:
            RuntimeError: a gradient or a projection that is not finite.
        """
        if not self._warm:
            # How many examples a pass takes is known after the first one. Batches must not depend
            # on which came first, so that every process writes the same bytes.
            first = slice(0, 2)
            self.score.of_gradients(self._row, tuple(each[first] for each in inputs), labels[first])
            self._warm = True
        rows = self.score.of_gradients(self._row, inputs, labels).cpu().numpy()
        beside = np.empty(len(rows), BESIDE)
        beside["norm"], beside["loss"] = rows[:, 0], rows[:, 1]
        if not np.isfinite(rows).all():
            wrong = start + int(np.flatnonzero(~np.isfinite(rows).all(1))[0])
            raise RuntimeError(
                f"Training example {wrong} has a loss or a parameter gradient that is not finite. "
                "Look for NaN or infinity in it and in the model's outputs."
            )
        stored = rows[:, 2:].astype(self.settings.dtype)
        if not np.isfinite(stored).all():
            raise RuntimeError(
                "A projection is too large for float16 beside its norm; build the index with "
                "precision='float32'."
            )
        return stored, beside

    def _row(self, gradients: Gradients) -> Tensor:
        """Norm, loss, and the scaled projection over the norm, ``[B, 2 + D]``."""
        terms = ((name, term.stored()) for name, term in gradients.terms.items())
        projected, squares = self._projection.of(terms)
        norms = squares.sqrt()
        over = (self.settings.scale / norms).masked_fill(vanishing(squares), 0)
        values = gradients.values.detach().to(norms)
        return torch.cat([norms[:, None], values[:, None], projected * over[:, None]], 1)
