"""Rank a training set by a score."""

from captum_tfa.influence.score_influence import ScoreInfluence

__all__ = ["ScoreInfluence"]
