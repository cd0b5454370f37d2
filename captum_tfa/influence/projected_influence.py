"""Influence in the projected space, where the curvature is small enough to be inverted.

What `ScoreInfluence` ranks with an index are estimates of exact scores. This is a score of its own,
made of the projections ``φ`` alone: its curvature is the second moment of the projected gradients.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

from captum_tfa.gradients import StoredGradients
from captum_tfa.index import GradientIndex
from captum_tfa.index.second_moment import Preconditioner, second_moment
from captum_tfa.influence.projected_scores import ProjectedScores
from captum_tfa.scores import Score, SumOfScores, WeightedScore
from captum_tfa.scores.groups import Groups
from captum_tfa.scores.score import vanishing


class ProjectedInfluence(ProjectedScores):
    """``φ(z_test)ᵀ (ΦᵀΦ/N + λ)⁻¹ φ(z_train)``, over the projections of an index.

    ``ΦᵀΦ/N`` is the second moment of the training gradients, the empirical Fisher matrix,
    projected. Above 0 a proponent, as for `InfluenceScore`.

    Args:
        score: a score of the index's model, loss and parameters; says what is asked of a test image
            (its ``measure_fn``). Only its gradients count, and weights: those of
            ``score.weighted(weights)`` act on the test gradient before it is projected.
        index: the index.
        damping: ``ρ``, at least 0: ``λ = ρ · tr(ΦᵀΦ/N) / D``.

    Raises:
        TypeError: ``score`` is no score, a sum, or one with a curvature; ``index`` is no index.
        ValueError: the index is of another model, loss or choice of parameters, or not finished;
            or no damping with which the matrix has an inverse.
    """

    def __init__(self, score: Score, index: GradientIndex, damping: float = 0.1) -> None:
        if not isinstance(score, Score) or isinstance(score, SumOfScores):
            raise TypeError(
                f"score is a {type(score).__name__}; it must be a score of one model, such as "
                "GradDotScore(model)."
            )
        plain = score
        while isinstance(plain, WeightedScore):
            plain = plain.score
        if type(plain).prepared is not Score.prepared:
            raise TypeError(
                f"A {type(plain).__name__} has a curvature of its own; the one in the projected "
                "space takes its place. Give GradDotScore(model), or rank with "
                "ScoreInfluence(score, index)."
            )
        if not isinstance(index, GradientIndex):
            raise TypeError(
                f"index is a {type(index).__name__}; give what GradientIndex.open returns."
            )
        index.refuse_other_score(score)
        self.score, self.index = score, index
        self.model = score.model
        self.name = "weighted projected influence" if score.weights else "projected influence"
        self.preconditioner = Preconditioner(second_moment(index), damping)

    def tables(self, inputs: Any, target: Any, groups: Groups) -> Iterator[Tensor]:
        """As `ProjectedScores.tables`."""
        tests = self.score.test_gradients(inputs, target)
        parts = [tests, *(tests.only(names) for names in groups.values())]
        asked = torch.stack([self._projected(part) for part in parts], 1)  # [Q, 1 + G, D]
        asked = asked.masked_fill(vanishing(tests.squares.cpu())[:, None, None], 0)
        solved = self.preconditioner.solve(asked.flatten(0, 1))
        for rows in self.index.chunks():
            yield rows.inner(solved).T.unflatten(0, asked.shape[:2]).transpose(1, 2)

    def self_influence(self) -> Tensor:
        """``φᵀ (ΦᵀΦ/N + λ)⁻¹ φ`` of every training example, ``[N]``; weights play no part."""
        found = []
        for rows in self.index.chunks():
            for part in rows.projections(torch.device("cpu")):
                found.append((part * self.preconditioner.solve(part)).sum(1))
        return torch.cat(found).float()

    def _projected(self, tests: StoredGradients) -> Tensor:
        """``φ(z_test)``, ``[Q, D]``, on the CPU."""
        if not tests.by_name:  # of a group that the weights leave out
            return torch.zeros(len(tests.squares), self.index.dimension)
        return self.index.project(tests).cpu()
