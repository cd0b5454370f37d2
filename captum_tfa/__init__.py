"""Training feature attribution: which parts of which training images made a model say this?"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from captum_tfa.attr import (
        LayerTrainingGradCos,
        LayerTrainingGradDot,
        LayerTrainingGradient,
        SmoothGrad,
        TrainingGradCos,
        TrainingGradDot,
        TrainingGradient,
        TrainingGradientXInput,
        TrainingIntegratedGradients,
        TrainingOcclusion,
    )
    from captum_tfa.index import GradientIndex
    from captum_tfa.influence import ProjectedInfluence, ScoreInfluence, TrakInfluence
    from captum_tfa.report import Explanation
    from captum_tfa.report.explain import explain
    from captum_tfa.scores import (
        EnsembleScore,
        GradCosScore,
        GradDotScore,
        InfluenceByGroup,
        InfluenceScore,
        TracInScore,
        ZeroGradientWarning,
    )
    from captum_tfa.scores.validate import validate

__version__ = "0.1.0"

__all__ = [
    "EnsembleScore",
    "Explanation",
    "GradCosScore",
    "GradDotScore",
    "GradientIndex",
    "InfluenceByGroup",
    "InfluenceScore",
    "LayerTrainingGradCos",
    "LayerTrainingGradDot",
    "LayerTrainingGradient",
    "ProjectedInfluence",
    "ScoreInfluence",
    "SmoothGrad",
    "TracInScore",
    "TrainingGradCos",
    "TrainingGradDot",
    "TrainingGradient",
    "TrainingGradientXInput",
    "TrainingIntegratedGradients",
    "TrainingOcclusion",
    "TrakInfluence",
    "ZeroGradientWarning",
    "__version__",
    "explain",
    "validate",
]


_FOLDERS = ("curvature", "scores", "attr", "index", "influence", "report", "metrics")


def __getattr__(name: str) -> Any:
    """A public name, imported when first asked for: the command's help need not load torch."""
    if name in _FOLDERS:
        return importlib.import_module(f"captum_tfa.{name}")
    if name in __all__:
        for folder in _FOLDERS:
            module = importlib.import_module(f"captum_tfa.{folder}")
            if name in module.__all__:
                value = globals()[name] = getattr(module, name)
                return value
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *_FOLDERS, *__all__})
