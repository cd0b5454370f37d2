"""TRAK [park2023trak]: influence of the margin in the projected space, of one model or several."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import Tensor

from captum_tfa.index import GradientIndex
from captum_tfa.influence.projected_influence import ProjectedInfluence
from captum_tfa.influence.projected_scores import ProjectedScores
from captum_tfa.scores import EnsembleScore, Score
from captum_tfa.scores.by_group import groups_of_score
from captum_tfa.scores.groups import Grouping, Groups


class TrakInfluence(ProjectedScores):
    """TRAK [park2023trak]: ``mean_m φ_m(z_test)ᵀ (ΦᵀΦ/N + λ)⁻¹ φ_m(z_train) · mean_m (1 − p_m)``.

    ``φ`` is the projected gradient of the margin ``o = logit_y − logsumexp(others)`` and ``p`` the
    probability of the training label; the means are over an ensemble of models. Above 0 a
    proponent. The original adds ``N λ`` to ``ΦᵀΦ``, which is this over ``N``. Without labels each
    model's own prediction is asked.

    Args:
        scores: one a model, made with ``loss_fn="margin"``; a single one for a single model. Of
            ``score.weighted(weights)`` the weights act on the test gradients.
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
        self.score = given[0]
        self.name = "weighted TRAK" if any(score.weights for score in given) else "TRAK"

    def groups(self, by_group: Grouping) -> Groups:
        """As `ProjectedScores.groups`; they must be the same for each model."""
        return groups_of_score(EnsembleScore([part.score for part in self.parts]), by_group)

    def tables(self, inputs: Any, target: Any, groups: Groups) -> Iterator[Tensor]:
        """As `ProjectedScores.tables`."""
        streams = [part.tables(inputs, target, groups) for part in self.parts]
        beside = [part.index.chunks() for part in self.parts]
        for tables, rows in zip(zip(*streams, strict=True), zip(*beside, strict=True), strict=True):
            # The loss is minus the margin: 1 − p = sigmoid(−o).
            doubt = torch.stack([each.losses.sigmoid() for each in rows]).mean(0)
            yield torch.stack(tables).mean(0) * doubt[:, None]
