"""Training functions whose result is known, for the tests of metrics by retraining."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset, Subset, TensorDataset

COUNT, QUERIES = 12, 5


class Additive(nn.Module):
    """Says the sum of its members' contributions to each query, ``[Q]``."""

    def __init__(self, contributions: Tensor) -> None:
        super().__init__()
        self.total = nn.Parameter(contributions.sum(1))


def additive(contributions: Tensor):
    """Training of which each example adds its own part ``contributions[:, n]``."""

    def train(subset: Subset, seed: int) -> nn.Module:
        return Additive(contributions[:, subset.indices]).eval()

    return train


def what_it_says(model: nn.Module) -> Tensor:
    return model.total.detach()


def numbered(count: int = COUNT) -> TensorDataset:
    return TensorDataset(torch.arange(count))


def by_gradient(dataset: Dataset, seed: int) -> nn.Module:
    """A linear model, a few steps of gradient descent."""
    return descend(nn.Linear(3, 2), dataset)


def descend(model: nn.Module, dataset: Dataset, steps: int = 2) -> nn.Module:
    model.train()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.5)
    for _ in range(steps):
        for x, y in DataLoader(dataset, batch_size=4, shuffle=True):
            loss = nn.functional.cross_entropy(model(x), y)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    return model.eval()


def two_classes(count: int = COUNT, seed: int = 0) -> TensorDataset:
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(count, 3, generator=generator)
    return TensorDataset(x, (x[:, 0] > 0).long())
