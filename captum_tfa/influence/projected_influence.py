"""Scores in the projected space: influence with a preconditioner, and TRAK, which is made of it.

What `ScoreInfluence` ranks with an index are estimates of exact scores. These here are scores of
their own, made of the projections ``φ`` alone: the curvature is the second moment of the projected
gradients, small enough to be inverted.
"""

from __future__ import annotations

import operator
from collections.abc import Iterator, Sequence
from typing import Any

import torch
from captum.influence import DataInfluence
from captum.influence._core.tracincp import KMostInfluentialResults
from torch import Tensor

from captum_tfa.gradients.batches import split
from captum_tfa.index import GradientIndex
from captum_tfa.index.search import best_of
from captum_tfa.index.second_moment import Preconditioner, second_moment
from captum_tfa.scores import Score, SumOfScores
from captum_tfa.scores.score import vanishing


class ProjectedInfluence(DataInfluence):  # type: ignore[misc]
    """``φ(z_test)ᵀ (ΦᵀΦ/N + λ)⁻¹ φ(z_train)``, over the projections of an index.

    ``ΦᵀΦ/N`` is the second moment of the training gradients, the empirical Fisher matrix,
    projected. Above 0 a proponent, as for `InfluenceScore`.

    Args:
        score: a score of the index's model, loss and parameters; says what is asked of a test image
            (its ``measure_fn``). Only its gradients count.
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
        if type(score).prepared is not Score.prepared:
            raise TypeError(
                f"A {type(score).__name__} has a curvature of its own; the one in the projected "
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
        self.preconditioner = Preconditioner(second_moment(index), damping)

    def influence(
        self, inputs: Any, k: int | None = None, proponents: bool = True
    ) -> Tensor | KMostInfluentialResults:
        """Scores of the training examples for test examples.

        Args:
            inputs: test images ``[Q, ...]`` or ``(test_images, labels)``, as for
                `ScoreInfluence.influence`; likewise ``k`` and ``proponents``.
            k: how many of the best are returned; ``None``: the scores of all.
            proponents: whether the highest scores are the best.

        Returns:
            ``[Q, N]``, or with ``k`` ``KMostInfluentialResults(indices, influence_scores)``.

        Raises:
            ValueError: ``k`` below 1; otherwise as `ScoreInfluence.influence`.
        """
        return ranked(self.scores(*split(inputs)), k, proponents)

    def scores(self, inputs: Any, target: Any) -> Iterator[Tensor]:
        """Scores ``[Q, n]`` of some training examples after the other."""
        solved = self.preconditioner.solve(self._projected(inputs, target).cpu())
        for rows in self.index.chunks():
            yield rows.inner(solved).T

    def self_influence(self) -> Tensor:
        """``φᵀ (ΦᵀΦ/N + λ)⁻¹ φ`` of every training example, ``[N]``."""
        found = []
        for rows in self.index.chunks():
            for part in rows.projections(torch.device("cpu")):
                found.append((part * self.preconditioner.solve(part)).sum(1))
        return torch.cat(found).float()

    def _projected(self, inputs: Any, target: Any) -> Tensor:
        """``φ(z_test)``, ``[Q, D]``."""
        tests = self.score.test_gradients(inputs, target)
        return self.index.project(tests).masked_fill(vanishing(tests.squares)[:, None], 0)


class TrakInfluence(DataInfluence):  # type: ignore[misc]
    """TRAK [park2023trak]: ``mean_m φ_m(z_test)ᵀ (ΦᵀΦ/N + λ)⁻¹ φ_m(z_train) · mean_m (1 − p_m)``.

    ``φ`` is the projected gradient of the margin ``o = logit_y − logsumexp(others)`` and ``p`` the
    probability of the training label; the means are over an ensemble of models. Above 0 a
    proponent. The original adds ``N λ`` to ``ΦᵀΦ``, which is this over ``N``.

    Args:
        scores: one a model, made with ``loss_fn="margin"``; a single one for a single model.
        indices: the index of each model.
        damping: ``ρ`` as for `ProjectedInfluence`. Small: the method's own default is 0.

    Raises:
        TypeError: as `ProjectedInfluence`.
        ValueError: numbers of scores and indices that differ, a score with another loss than the
            margin, indices of several data sets; otherwise as `ProjectedInfluence`.
    """

    def __init__(
        self,
        scores: Score | Sequence[Score],
        indices: GradientIndex | Sequence[GradientIndex],
        damping: float = 1e-3,
    ) -> None:
        given = [scores] if isinstance(scores, Score) else list(scores)
        places = [indices] if isinstance(indices, GradientIndex) else list(indices)
        if len(given) != len(places) or not given:
            raise ValueError(
                f"{len(given)} scores and {len(places)} indices were given; give one index for "
                "each model, at least one."
            )
        for score in given:
            if getattr(score, "loss_fn", None) != "margin":
                raise ValueError(
                    "TRAK is made of the gradients of the margin; make scores and indices with "
                    'loss_fn="margin", such as GradDotScore(model, loss_fn="margin").'
                )
        self.parts = [
            ProjectedInfluence(score, index, damping)
            for score, index in zip(given, places, strict=True)
        ]
        samples = {(index.settings.count, index.settings.sample) for index in places}
        if len(samples) > 1:
            raise ValueError("The indices are of several data sets; build them of the same one.")

    def influence(
        self, inputs: Any, k: int | None = None, proponents: bool = True
    ) -> Tensor | KMostInfluentialResults:
        """As `ProjectedInfluence.influence`; without labels each model's own prediction is asked.

        Args:
            inputs: test images, or ``(test_images, labels)``.
            k: how many of the best; ``None``: the scores of all.
            proponents: whether the highest scores are the best.

        Returns:
            ``[Q, N]``, or with ``k`` ``KMostInfluentialResults(indices, influence_scores)``.
        """
        return ranked(self.scores(*split(inputs)), k, proponents)

    def scores(self, inputs: Any, target: Any) -> Iterator[Tensor]:
        """Scores ``[Q, n]`` of some training examples after the other."""
        streams = [part.scores(inputs, target) for part in self.parts]
        weights = [part.index.chunks() for part in self.parts]
        for scores, rows in zip(
            zip(*streams, strict=True), zip(*weights, strict=True), strict=True
        ):
            # The loss is minus the margin: 1 − p = sigmoid(−o).
            doubt = torch.stack([each.losses.sigmoid() for each in rows]).mean(0)
            yield torch.stack(scores).mean(0) * doubt


def ranked(
    parts: Iterator[Tensor], k: int | None, proponents: bool
) -> Tensor | KMostInfluentialResults:
    """All scores, or the best ``k`` of them in Captum's form.

    Raises:
        ValueError: ``k`` below 1.
    """
    if k is None:
        return torch.cat([*parts], 1)
    if not hasattr(k, "__index__") or k < 1:
        raise ValueError(f"k is {k!r}; it must be at least 1, or None for all scores.")
    return KMostInfluentialResults(*best_of(parts, operator.index(k), proponents))
