"""Rank a training set by a score."""

from captum_tfa.influence.projected_influence import ProjectedInfluence, TrakInfluence
from captum_tfa.influence.score_influence import ScoreInfluence

__all__ = ["ProjectedInfluence", "ScoreInfluence", "TrakInfluence"]
