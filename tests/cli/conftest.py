"""A user's folder: pictures of two classes, a model of the user's own, its weights, an image."""

from __future__ import annotations

import functools
import sys
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch
from PIL import Image
from torch import nn

from captum_tfa.report import explain

FACTORY = """
import torch
from torch import nn
from torchvision.transforms import Compose, Normalize, Resize, ToTensor

def make(num_classes):
    model = nn.Sequential(
        nn.Conv2d(3, 4, 3, stride=2), nn.BatchNorm2d(4), nn.Softplus(),
        nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, num_classes),
    )
    model.preprocess = Compose([Resize((12, 12)), ToTensor(), Normalize([0.5] * 3, [0.25] * 3)])
    return model
"""


def write_picture(file: Path, hue: int, side: int = 16) -> Path:
    """A noisy picture with one strong colour."""
    file.parent.mkdir(parents=True, exist_ok=True)
    pixels = torch.randint(0, 80, (side, side, 3), dtype=torch.uint8)
    pixels[..., hue] += 150
    Image.fromarray(pixels.numpy()).save(file)
    return file


quick_explain = functools.partial(explain, score="grad-cos", method="gradient")
"""In the place of `explain`, where what it finds is not the point."""


@dataclass
class Home:
    """Where the user is, and what lies there."""

    folder: Path
    module: str

    @property
    def model(self) -> str:
        return f"{self.module}:make"

    def arguments(self, **changes: str | None) -> list[str]:
        """A good ``explain`` command; ``changes`` replace options, None leaves one out."""
        options: dict[str, str | None] = {
            "data": "pets",
            "model": self.model,
            "weights": "weights.pt",
            "image": "odd.png",
            "nt_samples": "2",
            "top": "2",
            "out": "why",
            **changes,
        }
        given = [(f"--{name.replace('_', '-')}", value) for name, value in options.items()]
        return [
            "explain",
            *(part for name, value in given if value is not None for part in (name, value)),
        ]

    def names(self) -> set[str]:
        return {entry.name for entry in self.folder.iterdir()} - {"__pycache__"}


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Home]:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    torch.manual_seed(0)
    for name, hue in (("cat", 0), ("dog", 2)):
        for place in range(4):
            write_picture(tmp_path / "pets" / "train" / name / f"{place}.png", hue)
    write_picture(tmp_path / "odd.png", 0)
    module = f"net_{uuid.uuid4().hex}"
    (tmp_path / f"{module}.py").write_text(FACTORY)
    scope: dict[str, Callable[[int], nn.Module]] = {}
    exec(FACTORY, scope)  # the same text as the user's module
    torch.save(scope["make"](2).state_dict(), tmp_path / "weights.pt")
    yield Home(tmp_path, module)
    sys.modules.pop(module, None)
