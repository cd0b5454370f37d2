"""What an index holds, read through memory maps a chunk at a time."""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from captum_tfa.index.codes import Codes
from captum_tfa.index.settings import Settings
from captum_tfa.index.shards import BESIDE, ShardFiles

# So many numbers are made float32 at once: they stay in the cache.
_CACHED_NUMBERS = 2**18
# More than this share of all rows is read faster in one sweep.
_SCATTERED = 1 / 64


@dataclass(frozen=True)
class Rows:
    """Some examples of an index, one after the other.

    Attributes:
        start: the number of the first one, as long as they stand one after the other.
        stored: their projections as they are stored, ``[n, D]``, not yet read from the disk.
        norms: ``‖g‖``, ``[n]``, float32.
        losses: ``[n]``, float32.
        scale: what ``φ / ‖g‖`` was multiplied with.
        codes: the same in 8 bits; ``None`` where the index has none.
    """

    start: int
    stored: Tensor
    norms: Tensor
    losses: Tensor
    scale: float
    codes: Codes | None = None

    def part(self, places: Tensor | slice) -> Rows:
        """Some of them: by their places ``[m]``, counted from the first, or a slice of them.

        Scattered ones come without codes.
        """
        if isinstance(places, slice):
            start = self.start + places.start
            stored, norms, losses = self.stored[places], self.norms[places], self.losses[places]
            codes = None if self.codes is None else self.codes.part(places)
        else:
            start, codes = self.start, None
            # Of long rows ten times as fast as stored[places].
            stored, norms, losses = (
                column.index_select(0, places) for column in (self.stored, self.norms, self.losses)
            )
        return Rows(start, stored, norms, losses, self.scale, codes)

    def directions(self, device: torch.device) -> Iterator[Tensor]:
        """``φ / ‖g‖`` times the scale, float32, a few rows after the other.

        The memory is used again: each part is valid until the next one is asked for.
        """
        step = max(1, _CACHED_NUMBERS // self.stored.shape[1])
        buffer = torch.empty(step, self.stored.shape[1], device=device)
        for part in self.stored.split(step):
            yield buffer[: len(part)].copy_(part)

    def inner(self, tests: Tensor) -> Tensor:
        """``⟨φ_i, φ_q⟩`` with the projections ``[Q, D]`` of tests: ``[n, Q]``."""
        weights = tests.to(torch.float32).T
        found = torch.cat([part @ weights for part in self.directions(tests.device)])
        return found * (self.norms.to(tests.device)[:, None] / self.scale)

    def projections(self, device: torch.device) -> Iterator[Tensor]:
        """``φ``, float32, a few rows after the other."""
        factors = (self.norms / self.scale).to(device)
        start = 0
        for part in self.directions(device):
            yield part * factors[start : start + len(part), None]
            start += len(part)


def read(folder: Path, settings: Settings, chunk: int, shards: Iterable[int]) -> Iterator[Rows]:
    """Examples of a finished index, in their order.

    Args:
        folder: of the index.
        settings: of the index.
        chunk: how many at once, at most.
        shards: the numbers of those that are read, in order.

    Raises:
        ValueError: the index is not finished, or a file has another size than it must have.
    """
    for number in shards:
        files = ShardFiles(folder, settings, number)
        files.refuse_unusable()
        shape = len(files.rows), settings.dimension
        with files.projections.open("rb") as file:
            stored = _tensor(np.memmap(file, settings.dtype, "r", shape=shape))
        kept = np.fromfile(files.norms, BESIDE)
        norms, losses = (torch.from_numpy(kept[name].copy()) for name in ("norm", "loss"))
        codes = Codes(files.codes, *shape, range(shape[0])) if files.codes.exists() else None
        for start in range(0, len(files.rows), chunk):
            part = slice(start, start + chunk)
            own = None if codes is None else codes.part(part)
            beside = norms[part], losses[part]
            yield Rows(files.rows.start + start, stored[part], *beside, settings.scale, own)


def fetch(folder: Path, settings: Settings, numbers: Tensor) -> None:
    """Let the disk look for rows all at once, if they are few: one by one they take long.

    Args:
        folder: of the index.
        settings: of the index.
        numbers: of the rows that will be read, in order.
    """
    if len(numbers) > _SCATTERED * settings.count or not hasattr(os, "posix_fadvise"):
        return
    for number, places in groupby(numbers.tolist(), lambda row: row // settings.shard_size):
        files = ShardFiles(folder, settings, number)
        with files.projections.open("rb") as file:
            for place in places:
                start = (place - files.rows.start) * settings.row_bytes
                os.posix_fadvise(file.fileno(), start, settings.row_bytes, os.POSIX_FADV_WILLNEED)


def _tensor(mapped: np.ndarray) -> Tensor:
    with warnings.catch_warnings():  # it is never written to
        warnings.filterwarnings("ignore", "The given NumPy array is not writable")
        return torch.from_numpy(mapped)
