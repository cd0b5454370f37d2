"""Examples that a curvature keeps because it goes through the model again to be solved with."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor
from torch.utils.data import Dataset

from captum_tfa.curvature.samples import Samples

_LABELS, _INPUT = "labels", "input"


def kept_examples(samples: Samples, what: str) -> dict[str, Tensor]:
    """All examples with their labels as tensors, on the CPU: ``labels``, ``input:0`` and so on."""
    batches = list(samples.labelled(what))
    kept = {_LABELS: torch.cat([labels.cpu() for _, labels in batches])}
    for place in range(len(batches[0][0])):
        kept[f"{_INPUT}:{place}"] = torch.cat([inputs[place].cpu() for inputs, _ in batches])
    return kept


def examples_in(tensors: Mapping[str, Tensor]) -> tuple[tuple[Tensor, ...], Tensor]:
    """The model's inputs, each ``[n, ...]``, and the labels ``[n, ...]``."""
    count = sum(name.startswith(f"{_INPUT}:") for name in tensors)
    return tuple(tensors[f"{_INPUT}:{place}"] for place in range(count)), tensors[_LABELS]


class KeptDataset(Dataset[tuple[tuple[Tensor, ...], Tensor]]):
    """The examples as a data set again."""

    def __init__(self, tensors: Mapping[str, Tensor]) -> None:
        self._inputs, self._labels = examples_in(tensors)

    def __len__(self) -> int:
        return len(self._labels)

    def __getitem__(self, index: int) -> tuple[tuple[Tensor, ...], Tensor]:
        return tuple(tensor[index] for tensor in self._inputs), self._labels[index]
