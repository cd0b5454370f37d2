"""Stored gradients in 8 bits, for a first look through an index that cannot miss anything.

A row ``x`` is kept a second time as whole numbers ``c`` from −127 to 127 with a step ``s``, so that
``Hx = s c + e``. With the question ``Hw = t d + r`` likewise

    |⟨x, w⟩ − s t ⟨c, d⟩|  ≤  ‖s c‖ ‖r‖ + ‖e‖ ‖w‖,

and the product of whole numbers is exact. It reads a half of what float16 takes, and several
questions share one product of matrices. ``H`` is Hartley's transform, which changes no product. It
spreads a few large numbers of a row over all, and so makes steps small.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

# Codes are whole numbers from -_MOST to _MOST.
_MOST = 127
# Beside the codes of each row: the step ``s``, ``‖s c‖``, and ``‖e‖``, both rounded up.
_BESIDE = 3
# So many rows tell whether products are exact.
_TRIED = 16
# So many are read at once.
_CACHED_NUMBERS = 2**21
# Lengths are rounded up so far that the order of a sum, which differs among machines, is not seen.
_UP = 1 / 256
# What rounding to float32 may change, relatively.
_SINGLE = 2.0**-24


def bytes_of(count: int, dimension: int) -> int:
    """Of a file with the codes of so many rows."""
    return count * (dimension + 4 * _BESIDE)


def encode(rows: NDArray[np.floating]) -> tuple[NDArray[np.int8], NDArray[np.float32]]:
    """Codes ``[n, D]`` of rows ``[n, D]``, and what stands beside them, ``[n, 3]``."""
    return _rounded(_spread(rows))


def _spread(rows: NDArray[np.floating]) -> NDArray[np.float64]:
    """``Hx`` of rows ``[n, D]``."""
    spectrum = np.fft.fft(rows.astype("f8"), axis=1, norm="ortho")
    return spectrum.real - spectrum.imag


def _rounded(rows: NDArray[np.float64]) -> tuple[NDArray[np.int8], NDArray[np.float32]]:
    """`encode` of what is spread already."""
    steps = (abs(rows).max(1, initial=0) / _MOST).astype("f4")
    step = steps.astype("f8")[:, None]
    codes = np.rint(np.divide(rows, step, out=np.zeros(rows.shape), where=step > 0))
    codes = codes.clip(-_MOST, _MOST)
    lengths = (np.linalg.norm(part, axis=1) for part in (step * codes, rows - step * codes))
    bounds = (np.ceil(length / _UP) * _UP for length in lengths)
    return codes.astype(np.int8), np.stack([steps, *bounds], 1).astype("<f4")


@dataclass(frozen=True)
class Codes:
    """The codes of some rows of a shard, in a file that holds all of them and then what is beside.

    Attributes:
        file: the file.
        count: rows of the file.
        dimension: codes of a row, ``D``.
        rows: which of them these are.
    """

    file: Path
    count: int
    dimension: int
    rows: range

    def part(self, places: slice) -> Codes:
        """Those of a slice of the rows."""
        return Codes(self.file, self.count, self.dimension, self.rows[places])

    def beside(self) -> tuple[Tensor, Tensor]:
        """``s``, ``[n]``, and ``‖s c‖`` and ``‖e‖``, ``[n, 2]``, all float32."""
        offset = self.count * self.dimension + 4 * _BESIDE * self.rows.start
        kept = np.fromfile(self.file, "<f4", _BESIDE * len(self.rows), offset=offset)
        kept = kept.reshape(-1, _BESIDE)
        steps, bounds = torch.from_numpy(kept).split([1, 2], 1)
        return steps[:, 0], bounds

    def numbers(self) -> Iterator[Tensor]:
        """The codes, int8, a few rows after the other.

        The memory is used again: each part is valid until the next one is asked for. Reading into
        it is quicker than to map a file, whose every page costs a fault, and it stays in the cache.
        """
        count = len(self.rows)
        step = max(1, _CACHED_NUMBERS // self.dimension)
        buffer = np.empty((step, self.dimension), np.int8)
        with self.file.open("rb", buffering=0) as file:
            file.seek(self.rows.start * self.dimension)
            for start in range(0, count, step):
                part = buffer[: count - start]
                if file.readinto(part.data.cast("B")) != part.size:
                    raise ValueError(f"{self.file} was cut while it was read.")
                yield torch.from_numpy(part)


class CodedQuestions:
    """Questions whose products with coded rows are bounded, each in a unit of its own.

    Of a single question what its codes have lost is coded once more: with one column a product
    costs next to nothing, and half as many rows are left to be looked at.

    Args:
        vectors: the questions, ``[Q, D]``, float32.

    Attributes:
        units: what bounds are to be multiplied with, ``[Q]``, above 0.
    """

    def __init__(self, vectors: Tensor) -> None:
        dimension = vectors.shape[1]
        lengths = vectors.norm(dim=1)
        scales = lengths.masked_fill(lengths == 0, 1) / dimension**0.5  # numbers around 1, as rows
        left = _spread((vectors.double() / scales[:, None]).numpy())
        # Codes of the questions and of what these have lost, with their steps.
        coded: list[tuple[Tensor, Tensor]] = []
        for _ in range(2 if len(vectors) == 1 else 1):
            codes, beside = _rounded(left)
            left = left - beside[:, :1].astype("f8") * codes
            coded.append((torch.from_numpy(codes), torch.from_numpy(beside[:, 0]) * scales))
        (self._codes, steps), *rest = coded
        self.units = steps.masked_fill(steps == 0, 1)
        self._rest = [(codes, steps / self.units) for codes, steps in rest]
        lost = torch.from_numpy(np.linalg.norm(left, axis=1)).float() * scales
        # Sums in float32, in any order, of these products and of those that they are compared with.
        lost += (2 * dimension + 64) * _SINGLE * lengths
        self._slack = torch.stack([lost, lengths]) * (1.001 / self.units)

    def most(self, rows: Codes, factors: Tensor, least: bool) -> Tensor:
        """What the products of rows and questions are at most, or at least, ``[n, Q]``.

        Args:
            rows: the coded rows.
            factors: what each row is multiplied with, ``[n]``.
            least: whether a bound from below is wanted.
        """
        found = torch.empty(len(factors), len(self._codes))
        start = 0
        for part in rows.numbers():
            here = found[start : start + len(part)]
            here.copy_(_product(part, self._codes))
            for codes, share in self._rest:
                here.add_(_product(part, codes) * share)
            start += len(part)
        steps, bounds = rows.beside()
        found.mul_((steps * factors)[:, None])
        slack = bounds * factors.abs()[:, None]
        return found.addmm_(slack, self._slack, alpha=-1 if least else 1)


@cache
def exact_here(dimension: int, questions: int) -> bool:
    """Whether codes of this dimension and so many questions are multiplied fast and exactly here.

    Older processors add pairs in 16 bits, which overflow without a word, and torch has taken a
    single column for a row. So it is tried, with the greatest numbers and with mixed ones.
    """
    if not torch.backends.cpu.get_cpu_capability().startswith("AVX"):
        return False  # the product would be a plain loop
    rows, others = (
        (torch.arange(count * dimension) * 37 % (2 * _MOST + 1) - _MOST).reshape(count, dimension)
        for count in (_TRIED, questions)
    )
    rows[: _TRIED // 2], others[::2] = _MOST, _MOST
    try:
        found = _product(rows.to(torch.int8), others.to(torch.int8))
    except (AttributeError, RuntimeError, NotImplementedError):  # another version of torch
        return False
    return torch.equal(found.double(), rows.double() @ others.double().T)


def _product(rows: Tensor, questions: Tensor) -> Tensor:
    """``[n, Q]`` in int32."""
    found: Tensor = torch._int_mm(rows, questions.T)  # torch has no public name for it
    return found
