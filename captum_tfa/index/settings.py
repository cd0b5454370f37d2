"""What stands in ``index.json``: how an index is laid out, and of what it is."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from captum_tfa.index.sealed import read_sealed, write_sealed

FORMAT, VERSION = "captum_tfa.index", 1
FILE = "index.json"
PARTS = "parts.json"
"""What lies where the indices of the parts of a score are."""
PRECISIONS = ("float16", "float32")


@dataclass(frozen=True)
class Settings:
    """How an index is laid out, and of what it is.

    Attributes:
        dimension: numbers of a projection, ``D``.
        seed: of the projection.
        precision: of the stored numbers, ``"float16"`` or ``"float32"``.
        scale: what projections over their gradients' norms are multiplied with before they are
            stored. They are then numbers around 1 however small a gradient is.
        shard_size: examples of a shard; the last one may have fewer.
        count: examples of the data set, ``N``.
        sample: a hash of a few of them, prepared as the model gets them.
        preparation: how the data set prepares its images, in words; empty if it does not say.
        model: a hash of the values of all parameters and buffers.
        loss: the loss in words.
        parameters: the shapes of the parameters that count, by name.
    """

    dimension: int
    seed: int
    precision: str
    scale: float
    shard_size: int
    count: int
    sample: str
    preparation: str
    model: str
    loss: str
    parameters: Mapping[str, list[int]]

    @property
    def dtype(self) -> np.dtype[Any]:
        """The type of a stored number, little-endian on every machine."""
        return np.dtype("<f2" if self.precision == "float16" else "<f4")

    @property
    def row_bytes(self) -> int:
        """Bytes of a projection."""
        return self.dimension * self.dtype.itemsize

    @property
    def shards(self) -> int:
        """How many there are when the index is finished."""
        return -(-self.count // self.shard_size)

    def rows(self, shard: int) -> range:
        """The examples of a shard."""
        start = shard * self.shard_size
        return range(start, min(self.count, start + self.shard_size))

    def write(self, folder: Path) -> None:
        """Put ``index.json`` into a folder."""
        content = {"format": FORMAT, "version": VERSION, **dataclasses.asdict(self)}
        content["parameters"] = {name: list(shape) for name, shape in self.parameters.items()}
        write_sealed(folder / FILE, content)

    @classmethod
    def read(cls, folder: Path) -> Settings:
        """What stands in the ``index.json`` of a folder.

        Raises:
            FileNotFoundError: there is none.
            ValueError: it is damaged, or of another version.
        """
        if (folder / PARTS).is_file():
            raise FileNotFoundError(
                f"{folder} holds no index of one score, but one for each part of a sum of scores; "
                "captum_tfa.index.open_parts opens them."
            )
        if not (folder / FILE).is_file():
            raise FileNotFoundError(
                f"{folder} holds no index ({FILE} is missing); build one with GradientIndex.build "
                "or captum-tfa index build."
            )
        content = read_sealed(folder / FILE)
        form, version = content.pop("format", None), content.pop("version", None)
        if (form, version) != (FORMAT, VERSION):
            raise ValueError(
                f"{folder / FILE} is of {form} version {version}; this package reads {FORMAT} "
                f"version {VERSION}. Build the index again."
            )
        return cls(**content)


def scale_for(dimension: int) -> float:
    """A power of 2 near ``√D``: a projection over its norm has numbers of about ``1 / √D``."""
    return float(2 ** round(torch.tensor(float(dimension)).sqrt().log2().item()))
