"""Rank a training set by a score, and learn from its rankings."""

from captum_tfa.influence.learning_weights import learn_weights
from captum_tfa.influence.projected_influence import ProjectedInfluence
from captum_tfa.influence.score_influence import ScoreInfluence
from captum_tfa.influence.trak_influence import TrakInfluence

__all__ = ["ProjectedInfluence", "ScoreInfluence", "TrakInfluence", "learn_weights"]
