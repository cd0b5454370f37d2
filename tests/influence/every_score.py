"""The scores that an index serves, of the small model of these tests."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch.utils.data import Dataset

from captum_tfa import GradCosScore, GradDotScore, InfluenceScore
from captum_tfa.curvature import fit_curvature
from captum_tfa.scores import Score
from tests.influence.tiny_sets import linear_and_conv


def curved(data: Dataset[Any], normalise: str | None) -> InfluenceScore:
    """Influence with a curvature that is fitted to the data."""
    model = linear_and_conv()
    return InfluenceScore(model, fit_curvature(model, data, "ekfac"), normalise)


def every_score(data: Callable[[], Dataset[Any]]) -> dict[str, Callable[[], Score]]:
    """What makes each of them, by name."""
    return {
        "grad-cos": lambda: GradCosScore(linear_and_conv()),
        "grad-dot": lambda: GradDotScore(linear_and_conv()),
        "influence": lambda: curved(data(), None),
        "influence, cos": lambda: curved(data(), "cos"),
    }
