"""What influence in the projected space and TRAK share: a ranking by what an index holds."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator
from typing import Any

import torch
from captum.influence import DataInfluence
from captum.influence._core.tracincp import KMostInfluentialResults
from torch import Tensor

from captum_tfa.gradients.batches import split
from captum_tfa.index.search import best_of
from captum_tfa.influence.most_influential import checked_k, most_influential
from captum_tfa.scores import InfluenceByGroup, Score
from captum_tfa.scores.by_group import groups_of_score
from captum_tfa.scores.groups import Grouping, Groups


class ProjectedScores(DataInfluence):  # type: ignore[misc]
    """Scores that are sums over the parameters of a test gradient, before it is projected.

    A projection is linear, ``Sg = Σ_j S P_j g``, so what a group ``j`` of parameters contributes is
    the score of ``S P_j g_test``. The training side stays as it is in the index.
    """

    score: Score
    """Of the first model, if there are several."""

    name: str
    """What ranks, in words."""

    def influence(
        self,
        inputs: Any,
        k: int | None = None,
        proponents: bool = True,
        by_group: Grouping | None = None,
    ) -> Tensor | KMostInfluentialResults | InfluenceByGroup:
        """Scores of the training examples for test examples.

        Args:
            inputs: test images ``[Q, ...]`` or ``(test_images, labels)``, as for
                `ScoreInfluence.influence`; without labels the model's own prediction is asked.
            k: how many of the best are returned; ``None``: the scores of all.
            proponents: whether the highest scores are the best.
            by_group: also tell what each parameter, layer or group of one's own contributes, on the
                test image's side, as for `ScoreInfluence.influence`.

        Returns:
            ``[Q, N]``, or with ``k`` ``KMostInfluentialResults(indices, influence_scores)``; with
            ``by_group`` an `InfluenceByGroup`, whose contributions add up to the scores.

        Raises:
            TypeError: a ``by_group`` of the wrong kind.
            ValueError: ``k`` below 1, groups that overlap or leave a parameter out; otherwise as
                `ScoreInfluence.influence`.
        """
        k = checked_k(k)
        test_inputs, test_target = split(inputs)
        if by_group is None:
            scores = (part[..., 0] for part in self.tables(test_inputs, test_target, {}))
            if k is None:
                return torch.cat([*scores], 1)
            return KMostInfluentialResults(*best_of(scores, k, proponents))
        groups = self.groups(by_group)
        found = self.tables(test_inputs, test_target, groups)
        # No norm stands below these scores: contributions and parts are the same.
        tables = (torch.cat([part, part[..., 1:]], -1) for part in found)
        if k is None:
            whole = torch.cat([*tables], 1)
            indices = torch.arange(whole.shape[1]).expand(whole.shape[:2])
        else:
            indices, whole = most_influential(tables, k, proponents)
        return InfluenceByGroup.unpacked(indices, whole, groups)

    def groups(self, by_group: Grouping) -> Groups:
        """The groups of the parameters that count, by name."""
        return groups_of_score(self.score, by_group)

    @abstractmethod
    def tables(self, inputs: Any, target: Any, groups: Groups) -> Iterator[Tensor]:
        """Scores of some training examples after the other, then what each group adds to them.

        Args:
            inputs: test images.
            target: their labels, or ``None``.
            groups: of parameters; there may be none.

        Yields:
            ``[Q, n, 1 + G]``, on the CPU.
        """
