"""What an index holds, read through memory maps a chunk at a time."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from captum_tfa.index.settings import Settings
from captum_tfa.index.shards import BESIDE, ShardFiles

# So many numbers are made float32 at once: they stay in the cache.
_CACHED_NUMBERS = 2**18


@dataclass(frozen=True)
class Rows:
    """Some examples of an index, one after the other.

    Attributes:
        start: the number of the first one, as long as they stand one after the other.
        stored: their projections as they are stored, ``[n, D]``, not yet read from the disk.
        norms: ``‖g‖``, ``[n]``, float32.
        losses: ``[n]``, float32.
        scale: what ``φ / ‖g‖`` was multiplied with.
        longest: no row of ``stored`` has a greater norm; ``None`` where the index does not say.
    """

    start: int
    stored: Tensor
    norms: Tensor
    losses: Tensor
    scale: float
    longest: float | None = None

    def part(self, places: Tensor | slice) -> Rows:
        """Some of them: by their places ``[m]``, counted from the first, or a slice of them."""
        if isinstance(places, slice):
            start = self.start + places.start
            stored, norms, losses = self.stored[places], self.norms[places], self.losses[places]
        else:
            start = self.start
            # Of long rows ten times as fast as stored[places].
            stored, norms, losses = (
                column.index_select(0, places) for column in (self.stored, self.norms, self.losses)
            )
        return Rows(start, stored, norms, losses, self.scale, self.longest)

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


def read(folder: Path, settings: Settings, chunk: int) -> Iterator[Rows]:
    """All examples of a finished index, in their order.

    Args:
        folder: of the index.
        settings: of the index.
        chunk: how many at once, at most.

    Raises:
        ValueError: the index is not finished, or a file has another size than it must have.
    """
    for number in range(settings.shards):
        files = ShardFiles(folder, settings, number)
        problem = files.problem(contents=False)
        if problem is not None:
            raise ValueError(
                f"The index in {folder} cannot be used: {problem}. Build it again with the same "
                "arguments: what is there stays, what is missing is made."
            )
        count = len(files.rows)
        shape = (count, settings.dimension)
        stored = _tensor(np.memmap(files.projections, settings.dtype, "r", shape=shape))
        kept = np.memmap(files.norms, BESIDE, "r", shape=(count,))
        longest = files.longest()
        norms, losses = (torch.from_numpy(kept[name].copy()) for name in ("norm", "loss"))
        for start in range(0, count, chunk):
            part = slice(start, start + chunk)
            first = files.rows.start + start
            beside = norms[part], losses[part]
            yield Rows(first, stored[part], *beside, settings.scale, longest)


def _tensor(mapped: np.ndarray) -> Tensor:
    with warnings.catch_warnings():  # it is never written to
        warnings.filterwarnings("ignore", "The given NumPy array is not writable")
        return torch.from_numpy(mapped)
