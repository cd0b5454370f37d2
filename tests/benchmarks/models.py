"""The models that are measured, untrained: what they cost does not depend on what they learnt."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torchvision
from torch import Tensor, nn

from captum_tfa.demo.small_cnn import SmallCNN

SMALL = "small CNN"
SIDES = {SMALL: 32, "resnet18": 224, "resnet50": 224, "vit_b_16": 224}


@dataclass(frozen=True)
class Problem:
    """A model, training images ``[N, 3, s, s]`` and test images ``[Q, 3, s, s]`` with labels."""

    model: nn.Module
    train: Tensor
    train_labels: Tensor
    test: Tensor
    test_labels: Tensor


class WideCNN(nn.Sequential):
    """Three convolutions of a given width; parameters grow with its square."""

    def __init__(self, width: int, classes: int = 10) -> None:
        layers: list[nn.Module] = []
        for wide_in, wide_out in ((3, width), (width, width), (width, width)):
            layers += [nn.Conv2d(wide_in, wide_out, 3, padding=1), nn.BatchNorm2d(wide_out)]
            layers += [nn.ReLU(), nn.AvgPool2d(2)]
        super().__init__(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(width, classes))


def small_nets() -> dict[str, nn.Module]:
    """Nets for which starting an operation takes as long as the operation, in evaluation mode."""
    torch.manual_seed(0)
    nets = {
        "two linear layers": nn.Sequential(
            nn.Flatten(), nn.Linear(3072, 64), nn.ReLU(), nn.Linear(64, 10)
        ),
        "LeNet-5": nn.Sequential(
            *(nn.Conv2d(3, 6, 5), nn.ReLU(), nn.MaxPool2d(2)),
            *(nn.Conv2d(6, 16, 5), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten()),
            *(nn.Linear(400, 120), nn.ReLU(), nn.Linear(120, 84), nn.ReLU(), nn.Linear(84, 10)),
        ),
        "three convolutions of 8": WideCNN(8),
        "three convolutions of 32": WideCNN(32),
        "small CNN": SmallCNN(10),
    }
    return {name: net.eval() for name, net in nets.items()}


def build(name: str) -> nn.Module:
    """The model of that name, in evaluation mode."""
    torch.manual_seed(0)
    if name == SMALL:
        return SmallCNN(10).eval()
    model: nn.Module = getattr(torchvision.models, name)(weights=None)
    if name.startswith("vit"):  # its head starts at zero, and so would every gradient below it
        nn.init.normal_(model.heads.head.weight, std=0.02)  # type: ignore[union-attr,arg-type]
    return model.eval()


def problem(
    model: nn.Module, side: int, train: int = 1, tests: int = 1, device: str = "cpu"
) -> Problem:
    """Random images and labels for a model."""
    generator = torch.Generator().manual_seed(1)

    def images(count: int) -> Tensor:
        return torch.randn(count, 3, side, side, generator=generator).to(device)

    def labels(count: int) -> Tensor:
        return torch.randint(10, (count,), generator=generator).to(device)

    return Problem(model.to(device), images(train), labels(train), images(tests), labels(tests))
