"""Small training sets and models for the tests of rankings."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.data import Dataset, IterableDataset, TensorDataset


class LinearAndConv(nn.Module):
    """A classifier of images ``[B, 2, 6, 6]`` made of the layers that TracInCP knows."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(2, 4, 3, stride=2, padding=1)
        self.conv2 = nn.Conv2d(4, 3, 2)
        self.hidden = nn.Linear(12, 5)
        self.out = nn.Linear(5, 3)

    def forward(self, images: Tensor) -> Tensor:
        features = torch.tanh(self.conv2(torch.relu(self.conv1(images)))).flatten(1)
        return self.out(torch.tanh(self.hidden(features)))


class Streamed(IterableDataset[Any]):
    """A data set that can only be gone through in order."""

    def __init__(self, examples: Dataset[Any]) -> None:
        self.examples = examples

    def __iter__(self) -> Iterator[Any]:
        for index in range(len(self.examples)):  # type: ignore[arg-type]
            yield self.examples[index]


def linear_and_conv() -> LinearAndConv:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return LinearAndConv().double().eval()


def images(count: int, seed: int) -> Tensor:
    draw = torch.Generator().manual_seed(seed)
    return torch.randn(count, 2, 6, 6, generator=draw, dtype=torch.float64)


def training_set(count: int = 11) -> TensorDataset:
    """``count`` images with labels 0, 1, 2 in turn."""
    return TensorDataset(images(count, 1), torch.arange(count) % 3)


TESTS = images(4, 2)
TEST_LABELS = torch.tensor([0, 2, 1, 1])


class WholeNumbers(nn.Module):
    """A regression ``[B, 2]`` to ``[B, 1]`` in whole numbers: equal scores are exactly equal."""

    def __init__(self) -> None:
        super().__init__()
        self.fc = nn.Linear(2, 1, bias=False)
        nn.init.constant_(self.fc.weight, 1)
        self.double().eval()

    def forward(self, inputs: Tensor) -> Tensor:
        return self.fc(inputs)
