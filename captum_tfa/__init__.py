"""Training feature attribution: which parts of which training images made a model say this?"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from captum_tfa.attr import (
        IntegratedXtrAIn,
        LayerTrainingGradCos,
        LayerTrainingGradDot,
        LayerTrainingGradient,
        LearnedFrom,
        SmoothGrad,
        TrainingGradCos,
        TrainingGradDot,
        TrainingGradient,
        TrainingGradientXInput,
        TrainingIntegratedGradients,
        TrainingOcclusion,
        Xstep,
        XtrAIn,
        XtrAInPlus,
    )
    from captum_tfa.auditing import Audit
    from captum_tfa.auditing.audit import audit
    from captum_tfa.index import GradientIndex, TrakScore
    from captum_tfa.influence import (
        ProjectedInfluence,
        ScoreInfluence,
        TrakInfluence,
        learn_weights,
    )
    from captum_tfa.report import Explanation, draw_weights, explain_parts
    from captum_tfa.report.explain import explain
    from captum_tfa.scores import (
        EnsembleScore,
        GradCosScore,
        GradDotScore,
        InfluenceByGroup,
        InfluenceScore,
        ParameterWeights,
        PassForEachExampleWarning,
        RepresenterScore,
        TracInScore,
        ZeroGradientWarning,
    )
    from captum_tfa.scores.validate import validate
    from captum_tfa.trajectory import Trajectory, TrajectoryRecorder

__version__ = "0.1.0"

__all__ = [
    "Audit",
    "EnsembleScore",
    "Explanation",
    "GradCosScore",
    "GradDotScore",
    "GradientIndex",
    "InfluenceByGroup",
    "InfluenceScore",
    "IntegratedXtrAIn",
    "LayerTrainingGradCos",
    "LayerTrainingGradDot",
    "LayerTrainingGradient",
    "LearnedFrom",
    "ParameterWeights",
    "PassForEachExampleWarning",
    "ProjectedInfluence",
    "RepresenterScore",
    "ScoreInfluence",
    "SmoothGrad",
    "TracInScore",
    "TrainingGradCos",
    "TrainingGradDot",
    "TrainingGradient",
    "TrainingGradientXInput",
    "TrainingIntegratedGradients",
    "TrainingOcclusion",
    "Trajectory",
    "TrajectoryRecorder",
    "TrakInfluence",
    "TrakScore",
    "Xstep",
    "XtrAIn",
    "XtrAInPlus",
    "ZeroGradientWarning",
    "__version__",
    "audit",
    "draw_weights",
    "explain",
    "explain_parts",
    "learn_weights",
    "validate",
]


_FOLDERS = (
    "trajectory",
    "curvature",
    "scores",
    "attr",
    "index",
    "influence",
    "report",
    "metrics",
    "auditing",
)


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
