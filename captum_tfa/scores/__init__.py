"""Scores ``S(train, test)`` as differentiable modules."""

from captum_tfa.gradients import PassForEachExampleWarning
from captum_tfa.scores.by_group import InfluenceByGroup
from captum_tfa.scores.ensemble import EnsembleScore
from captum_tfa.scores.grad_cos import GradCosScore
from captum_tfa.scores.grad_dot import GradDotScore
from captum_tfa.scores.influence import InfluenceScore
from captum_tfa.scores.inner_product import InnerProduct, norm_held
from captum_tfa.scores.part import PartOfScore
from captum_tfa.scores.representer import RepresenterScore
from captum_tfa.scores.score import Score, ZeroGradientWarning
from captum_tfa.scores.sum_of_scores import SumOfScores
from captum_tfa.scores.tracin import TracInScore
from captum_tfa.scores.turned_round import TurnedRound, other_side
from captum_tfa.scores.validate import validate
from captum_tfa.scores.weighted import WeightedScore
from captum_tfa.scores.weights import ParameterWeights

__all__ = [
    "EnsembleScore",
    "GradCosScore",
    "GradDotScore",
    "InfluenceByGroup",
    "InfluenceScore",
    "InnerProduct",
    "ParameterWeights",
    "PartOfScore",
    "PassForEachExampleWarning",
    "RepresenterScore",
    "Score",
    "SumOfScores",
    "TracInScore",
    "TurnedRound",
    "WeightedScore",
    "ZeroGradientWarning",
    "norm_held",
    "other_side",
    "validate",
]
