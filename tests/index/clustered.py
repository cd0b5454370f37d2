"""Images in clusters, so that their gradients come in clusters: what lists are made for."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import TensorDataset

from captum_tfa import GradCosScore, GradientIndex
from tests.influence.tiny_sets import linear_and_conv

CLUSTERS = 12


def clustered(count: int, seed: int, noise: float = 0.3) -> tuple[Tensor, Tensor]:
    """Images ``[N, 2, 6, 6]`` near one of 12 patterns, and labels by pattern."""
    patterns = torch.Generator().manual_seed(99)
    middles = torch.randn(CLUSTERS, 2, 6, 6, generator=patterns, dtype=torch.float64)
    draw = torch.Generator().manual_seed(seed)
    cluster = torch.randint(CLUSTERS, (count,), generator=draw)
    extra = torch.randn(count, 2, 6, 6, generator=draw, dtype=torch.float64)
    return middles[cluster] + noise * extra, cluster % 3


def index_of_clusters(folder: Path, count: int, **changes: Any) -> GradientIndex:
    """An index in shards of 50."""
    settings = {"dimension": 128, "shard_size": 50, **changes}
    data = TensorDataset(*clustered(count, 1))
    return GradientIndex.build(GradCosScore(linear_and_conv()), data, folder, **settings)
