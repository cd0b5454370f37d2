"""A few pairs and models on which the perturbation metrics can be worked out slowly."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn


class TinyPairs(NamedTuple):
    """Six training images, each with a test image; three test images, twice each in a row."""

    train: Tensor
    train_labels: Tensor
    test: Tensor
    test_labels: Tensor


def tiny_pairs(size: int = 8) -> TinyPairs:
    generator = torch.Generator().manual_seed(3)
    train = torch.randn(6, 3, size, size, generator=generator, dtype=torch.float64)
    test = torch.randn(3, 3, size, size, generator=generator, dtype=torch.float64)
    return TinyPairs(
        train,
        torch.tensor([0, 1, 2, 0, 1, 2]),
        test.repeat_interleave(2, 0),
        torch.tensor([0, 0, 1, 1, 2, 2]),
    )


def tiny_net() -> nn.Sequential:
    """A convolutional net with BatchNorm in evaluation mode, float64."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(4)
        net = nn.Sequential(
            nn.Conv2d(3, 4, 3),
            nn.BatchNorm2d(4),
            nn.Softplus(),
            nn.AdaptiveAvgPool2d(2),
            nn.Flatten(),
            nn.Linear(16, 3),
        ).double()
        net(torch.randn(8, 3, 8, 8, dtype=torch.float64))  # running statistics of its own
    return net.eval()


def tiny_saliency() -> Tensor:
    return torch.randn(6, 8, 8, generator=torch.Generator().manual_seed(5), dtype=torch.float64)
