"""What the tests of the index share: a data set that counts and dawdles, and files compared."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

from torch import Tensor
from torch.utils.data import Dataset

from captum_tfa import GradCosScore, GradientIndex, TracInScore
from captum_tfa.index import build_parts
from tests.influence.tiny_sets import images, linear_and_conv

BATCH, SHARD, DIMENSION = 4, 12, 16


class Counted(Dataset[Any]):
    """``count`` images with labels 0, 1, 2 in turn; remembers which of them were asked for."""

    def __init__(self, count: int, delay: float = 0.0) -> None:
        self.images, self.delay = images(64, 1)[:count].clone(), delay
        self.asked: list[int] = []

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        if not 0 <= index < len(self):
            raise IndexError(index)
        time.sleep(self.delay)
        self.asked.append(index)
        return self.images[index], index % 3


SMALL: dict[str, Any] = {"dimension": DIMENSION, "batch_size": BATCH, "shard_size": SHARD}


def build(data: Any, folder: Path, **changes: Any) -> GradientIndex:
    """An index in shards of three batches."""
    return GradientIndex.build(
        GradCosScore(linear_and_conv()), data, folder, **{**SMALL, **changes}
    )


def a_sum(count: int = 2) -> TracInScore:
    """Of several states of one model, always the same."""
    state = linear_and_conv().state_dict()
    states = [
        {name: tensor * (1 + number / 8) for name, tensor in state.items()}
        for number in range(count)
    ]
    return TracInScore(linear_and_conv(), states, [0.5**number for number in range(count)])


def build_sum(data: Any, folder: Path, count: int = 2, **changes: Any) -> list[GradientIndex]:
    """The indices of the parts of `a_sum`, each as `build` makes one."""
    return build_parts(a_sum(count), data, folder, **{**SMALL, **changes})


def contents(folder: Path) -> dict[str, bytes]:
    """All files of an index but its locks, by name."""
    return {
        path.name: path.read_bytes()
        for path in sorted(folder.iterdir())
        if not path.name.endswith(".lock")
    }
