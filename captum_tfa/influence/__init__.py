"""Rank a training set by a score, and learn from its rankings."""

from captum_tfa.influence.learning_weights import learn_weights
from captum_tfa.influence.score_influence import ScoreInfluence

__all__ = ["ScoreInfluence", "learn_weights"]
