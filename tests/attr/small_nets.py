"""Small models for the tests of maps, in float64 and in evaluation mode, and their inputs."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class SmallNet(nn.Module):
    """A convolutional classifier: images ``[B, 2, 6, 6]`` to logits ``[B, 3]``."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(2, 4, 3, padding=1)
        self.norm = nn.BatchNorm2d(4)
        self.relu = nn.ReLU(inplace=True)
        self.conv2 = nn.Conv2d(4, 5, 3, stride=2)
        self.gelu = nn.GELU()
        self.fc = nn.Linear(20, 3)

    def forward(self, images: Tensor) -> Tensor:
        hidden = self.relu(self.norm(self.conv1(images)))
        return self.fc(self.gelu(self.conv2(hidden)).flatten(1))


class PictureAndNumbers(nn.Module):
    """A classifier with two inputs, ``[B, 1, 4, 4]`` and ``[B, 3]``."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(1, 2, 3)
        self.numbers = nn.Linear(3, 4)
        self.fc = nn.Linear(12, 3)

    def forward(self, picture: Tensor, numbers: Tensor) -> Tensor:
        seen = torch.tanh(self.conv(picture)).flatten(1)
        return self.fc(torch.cat([seen, torch.tanh(self.numbers(numbers))], 1))


class Split(nn.Module):
    """A layer with two outputs."""

    def __init__(self) -> None:
        super().__init__()
        self.left = nn.Linear(6, 4)
        self.right = nn.Linear(6, 5)

    def forward(self, inputs: Tensor) -> tuple[Tensor, Tensor]:
        return torch.tanh(self.left(inputs)), torch.tanh(self.right(inputs))


class SplitAndJoin(nn.Module):
    """A classifier of vectors ``[B, 6]`` whose layers pass on two tensors."""

    def __init__(self) -> None:
        super().__init__()
        self.split = Split()
        self.join = nn.Bilinear(4, 5, 3)

    def forward(self, inputs: Tensor) -> Tensor:
        return self.join(*self.split(inputs))


class Words(nn.Module):
    """A classifier of five word numbers below 7, ``[B, 5]``."""

    def __init__(self) -> None:
        super().__init__()
        self.table = nn.Embedding(7, 4)
        self.fc = nn.Linear(20, 3)

    def forward(self, words: Tensor) -> Tensor:
        return self.fc(torch.tanh(self.table(words)).flatten(1))


class Twice(nn.Module):
    """A classifier of vectors ``[B, 6]`` that calls one layer twice."""

    def __init__(self) -> None:
        super().__init__()
        self.again = nn.Linear(6, 6)
        self.fc = nn.Linear(6, 3)

    def forward(self, inputs: Tensor) -> Tensor:
        return self.fc(torch.tanh(self.again(torch.tanh(self.again(inputs)))))


class ScaledFirst(nn.Module):
    """A classifier of vectors ``[B, 6]`` that starts with a raw parameter."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.zeros(6))
        self.hidden = nn.Linear(6, 4)
        self.out = nn.Linear(4, 3)

    def forward(self, inputs: Tensor) -> Tensor:
        return self.out(torch.tanh(self.hidden(inputs * self.scale.exp())))


def made(model: nn.Module, seed: int = 0) -> nn.Module:
    """The model in float64 and evaluation mode, with seeded weights and BatchNorm statistics."""
    draw = torch.Generator().manual_seed(seed)
    model = model.double().eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(0.4 * torch.randn(parameter.shape, generator=draw))
        for name, buffer in model.named_buffers():
            if buffer.is_floating_point():
                value = torch.rand(buffer.shape, generator=draw)
                buffer.copy_(value + 0.5 if name.endswith("var") else value - 0.5)
    return model


def small_net() -> SmallNet:
    model = made(SmallNet())
    assert isinstance(model, SmallNet)
    return model


def drawn(count: int, seed: int, *shape: int) -> Tensor:
    """Random inputs ``[count, *shape]`` in float64."""
    draw = torch.Generator().manual_seed(seed)
    return torch.randn(count, *shape, generator=draw, dtype=torch.float64)


def pictures(count: int, seed: int) -> Tensor:
    """Images for `SmallNet`."""
    return drawn(count, seed, 2, 6, 6)


LABELS = torch.tensor([0, 2, 1])
"""Labels of three training images."""
