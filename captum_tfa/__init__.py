"""Training feature attribution: which parts of which training images made a model say this?"""

from captum_tfa.attr import (
    LayerTrainingGradCos,
    LayerTrainingGradDot,
    TrainingGradCos,
    TrainingGradDot,
)
from captum_tfa.influence import ScoreInfluence
from captum_tfa.report import Explanation, explain
from captum_tfa.scores import GradCosScore, GradDotScore, ZeroGradientWarning, validate

__version__ = "0.1.0"

__all__ = [
    "Explanation",
    "GradCosScore",
    "GradDotScore",
    "LayerTrainingGradCos",
    "LayerTrainingGradDot",
    "ScoreInfluence",
    "TrainingGradCos",
    "TrainingGradDot",
    "ZeroGradientWarning",
    "__version__",
    "explain",
    "validate",
]
