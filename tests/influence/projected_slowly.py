"""Projected gradients by plain autograd and the projection's explicit matrix."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.data import TensorDataset

from captum_tfa import GradientIndex
from captum_tfa.index.projection import Projection
from tests.influence.tiny_sets import images
from tests.oracle import SlowScore

COUNT, DIMENSION = 60, 12
LABELS = torch.arange(COUNT) % 3
IMAGES = images(COUNT, 1)
DATA = TensorDataset(IMAGES, LABELS)


def matrix(model: nn.Module, dtype: torch.dtype = torch.float64) -> Tensor:
    """The projection's matrix ``[P, D]``."""
    parts = []
    for name, parameter in model.named_parameters():
        buckets, signs = Projection(DIMENSION, 0).entries(name, parameter.shape)
        part = torch.zeros(parameter.numel(), DIMENSION, dtype=dtype)
        part[torch.arange(parameter.numel()), buckets.flatten()] = signs.flatten().to(dtype)
        parts.append(part)
    return torch.cat(parts)


def slow_gradients(model: nn.Module, inputs: Tensor, labels: Tensor, loss: Any = None) -> Tensor:
    """``g`` by plain autograd, ``[n, P]``, the parameters one after the other."""
    slow = SlowScore(model, loss_fn=loss)
    rows = []
    for row in range(len(inputs)):
        gradient = slow.gradient((inputs[row : row + 1],), labels[row : row + 1])
        rows.append(torch.cat([part.flatten() for part in gradient]).detach())
    return torch.stack(rows)


def slow_features(model: nn.Module, inputs: Tensor, labels: Tensor, loss: Any = None) -> Tensor:
    """``φ`` by the explicit matrix, ``[n, D]``."""
    return slow_gradients(model, inputs, labels, loss) @ matrix(model)


def by_layer(model: nn.Module) -> dict[str, Tensor]:
    """Which entries of a gradient ``[P]`` are a layer's."""
    layers = [
        name.rpartition(".")[0] for name, p in model.named_parameters() for _ in range(p.numel())
    ]
    return {
        layer: torch.tensor([each == layer for each in layers]) for layer in dict.fromkeys(layers)
    }


def minus_margin(outputs: Tensor, labels: Tensor) -> Tensor:
    """The loss of TRAK: ``log (1 − p) − log p``."""
    probability = outputs.softmax(1).gather(1, labels[:, None])[:, 0]
    return (1 - probability).log() - probability.log()


def built(score: Any, folder: Path) -> GradientIndex:
    return GradientIndex.build(score, DATA, folder, DIMENSION, precision="float32", shard_size=25)
