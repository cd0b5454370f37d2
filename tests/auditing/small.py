"""Small pictures, a small model that is often wrong, and audits of it in no time."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.data import TensorDataset

from captum_tfa.auditing.audit import audit
from captum_tfa.auditing.result import Audit
from tests.report.tiny import TinyPictures, tiny_model

MODEL: nn.Module = tiny_model()
TRAIN = TinyPictures(24)


class SmallTests(TensorDataset):
    """Fifteen test pictures of the three classes, with files."""

    def __init__(self) -> None:
        generator = torch.Generator().manual_seed(77)
        super().__init__(torch.randn(15, 3, 8, 8, generator=generator), torch.arange(15) % 3)
        self.samples = [(f"/tests/{place}.png", place % 3) for place in range(15)]


TESTS = SmallTests()


def small_audit(**changes: Any) -> Audit:
    """An audit in a second; ``changes`` replace its arguments."""
    given: dict[str, Any] = {
        "score": "grad-cos",
        "max_mistakes": 6,
        "k": 4,
        "controls": 3,
        **changes,
    }
    model = given.pop("model", MODEL)
    train, tests = given.pop("train", TRAIN), given.pop("tests", TESTS)
    return audit(model, train, tests, **given)


def said(model: nn.Module = MODEL) -> tuple[Tensor, Tensor]:
    """What the model says of each test picture and how surely, one picture at a time."""
    answers, sure = [], []
    with torch.no_grad():
        for image, _ in TESTS:
            probabilities = torch.softmax(model(image[None])[0].double(), 0)
            answers.append(int(probabilities.argmax()))
            sure.append(float(probabilities.max()))
    return torch.tensor(answers), torch.tensor(sure)
