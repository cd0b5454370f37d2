"""A tiny classifier, tiny pictures, and explanations made of them in no time."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.data import TensorDataset

from captum_tfa.report import Explanation, TrainingExample
from captum_tfa.report.methods import METHODS


class TinyPictures(TensorDataset):
    """Twelve pictures ``[3, 8, 8]`` of three classes, with class names."""

    def __init__(self, count: int = 12) -> None:
        generator = torch.Generator().manual_seed(5)
        super().__init__(torch.randn(count, 3, 8, 8, generator=generator), torch.arange(count) % 3)
        self.classes = ["ant", "bee", "cat"]


def tiny_model() -> nn.Sequential:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(11)
        return nn.Sequential(
            nn.Conv2d(3, 4, 3, stride=2),
            nn.BatchNorm2d(4),
            nn.Softplus(),
            nn.AdaptiveAvgPool2d(1),
            nn.Flatten(),
            nn.Linear(4, 3),
        ).eval()


def puzzling_picture() -> Tensor:
    return torch.randn(3, 8, 8, generator=torch.Generator().manual_seed(9))


def training_example(index: int, score: float, map: Tensor | None = None) -> TrainingExample:
    generator = torch.Generator().manual_seed(index)
    return TrainingExample(
        index=index,
        score=score,
        label=1,
        label_name="bee",
        image=torch.rand(3, 8, 8, generator=generator),
        map=torch.randn(3, 8, 8, generator=generator) if map is None else map,
        test_map=torch.randn(3, 8, 8, generator=generator) if map is None else -2 * map,
    )


def explanation(**changes: Any) -> Explanation:
    """One with two proponents and three opponents; ``changes`` replace its fields."""
    fields: dict[str, Any] = {
        "test_image": torch.rand(3, 8, 8, generator=torch.Generator().manual_seed(99)),
        "predicted": 1,
        "predicted_name": "bee",
        "confidence": 0.875,
        "label": 0,
        "label_name": "ant",
        "label_given": True,
        "proponents": tuple(training_example(i, 0.5 - i / 10) for i in range(2)),
        "opponents": tuple(training_example(i, i / 10 - 0.9) for i in range(2, 5)),
        "method": METHODS["gradient"],
        "settings": {"seed": 0, "layer": None},
        "versions": {"torch": "x"},
    }
    return Explanation(**{**fields, **changes})
