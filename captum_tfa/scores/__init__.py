"""Scores ``S(train, test)`` as differentiable modules."""

from captum_tfa.scores.grad_cos import GradCosScore
from captum_tfa.scores.grad_dot import GradDotScore
from captum_tfa.scores.influence import InfluenceScore
from captum_tfa.scores.inner_product import InnerProduct
from captum_tfa.scores.score import Score, ZeroGradientWarning
from captum_tfa.scores.turned_round import TurnedRound
from captum_tfa.scores.validate import validate

__all__ = [
    "GradCosScore",
    "GradDotScore",
    "InfluenceScore",
    "InnerProduct",
    "Score",
    "TurnedRound",
    "ZeroGradientWarning",
    "validate",
]
