"""What the tests of every score begin with: both scores, a small model, its images."""

from __future__ import annotations

import pytest
from torch import Tensor, nn

from captum_tfa import GradCosScore, GradDotScore
from tests.oracle import NETS

SCORES = {"cos": GradCosScore, "dot": GradDotScore}
both_scores = pytest.mark.parametrize("kind", SCORES.values(), ids=SCORES)


def small_model() -> nn.Module:
    return NETS["small cnn"].model()


def small_images(batch: int, seed: int = 1) -> Tensor:
    return NETS["small cnn"].inputs(batch, seed)[0]
