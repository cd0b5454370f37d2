"""Which training examples are worth an exact score, as an index sees them.

``⟨φ(g), φ(u)⟩`` with ``u = H⁻¹ g_test`` estimates ``⟨g, u⟩`` without bias, with a noise of
``‖g‖‖u‖ / √D``. But ``H⁻¹`` turns ``u`` away from what all gradients share, so products are small
and the noise is not. Influence in the projected space, ``φ(g)ᵀ (ΦᵀΦ/N + λ)⁻¹ φ(g_test)``, leaves
out what all share after projecting, and so has less noise, but another curvature than ``H``. Where
one of the two is bad the other one is good: each gives half of the first candidates of a score with
curvature. Then their exact scores tell where to look next (see `foretelling`).
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from captum_tfa.gradients import StoredGradients
from captum_tfa.index import GradientIndex
from captum_tfa.index.best import best
from captum_tfa.index.lists import Lists
from captum_tfa.index.search import Best, Scoring
from captum_tfa.index.second_moment import Preconditioner, second_moment
from captum_tfa.influence.foretelling import foretold
from captum_tfa.scores import GradDotScore, InfluenceScore, Score

#: ``ρ`` of it; on CIFAR-10 all between 0.1 and 1 found about as many.
DAMPING = 0.3
# Of more the regression would take longer than it saves.
_MOST_IN_ROUNDS = 1024


class Candidates:
    """The training examples that an index finds for a score.

    Args:
        score: of the index's model, loss and parameters, no sum.
        index: the finished index.
        lists: of that index, for an approximate search; without them all of it is searched.
    """

    def __init__(self, score: Score, index: GradientIndex, lists: Lists | None = None) -> None:
        self.score, self.index, self.lists = score, index, lists
        self._preconditioner: Preconditioner | None = None

    def find(self, inputs: Any, target: Any, count: int, proponents: bool) -> Tensor:
        """Numbers of examples, ``[Q, count]``, or as many as there are; the likeliest first.

        Args:
            inputs: test images.
            target: their labels, or ``None``.
            count: how many.
            proponents: whether those with the highest scores are wanted, or the lowest.
        """
        tests = self.score.test_gradients(inputs, target)

        def among(vectors: Tensor) -> Tensor:
            return self._best(vectors, tests, count, proponents).indices

        found = among(self.index.project(tests))
        if type(self.score) is not InfluenceScore or count >= len(self.index):
            return found
        return in_turn(among(self._in_projected_space(self.score, inputs, target)), found)

    def in_rounds(self, count: int) -> bool:
        """Whether exact scores of some candidates shall say which are the others."""
        few = count < len(self.index) and count <= _MOST_IN_ROUNDS
        return type(self.score) is InfluenceScore and few

    def next(
        self,
        tests: StoredGradients,
        known: Tensor,
        scores: Tensor,
        count: int,
        proponents: bool,
    ) -> Tensor:
        """Further numbers of examples, ``[Q, count]``, as exact scores foretell them.

        Args:
            tests: gradients of the test images.
            known: the numbers of the examples so far, ``[Q, n]``.
            scores: their exact scores, ``[Q, n]``.
            count: how many more, no more than the index has.
            proponents: as in `find`.
        """
        projected = self.index.project(tests)
        vectors = foretold(self.index, Scoring(self.score, tests), projected, known, scores)
        found = self._best(vectors, tests, known.shape[1] + count, proponents).indices
        return torch.tensor(
            [
                [number for number in row if number not in there][:count]
                for row, there in zip(found.tolist(), map(set, known.tolist()), strict=True)
            ]
        )

    def by_estimate(self, inputs: Any, target: Any, k: int, proponents: bool) -> Best:
        """The ``k`` best by the stored projections, with these estimates."""
        tests = self.score.test_gradients(inputs, target)
        return self._best(self.index.project(tests), tests, k, proponents)

    def _best(self, vectors: Tensor, tests: StoredGradients, k: int, proponents: bool) -> Best:
        of = Scoring(self.score, tests)
        if self.lists is None:
            return best(self.index, vectors, of, k, proponents)
        return self.lists.best(vectors, of, k, proponents)

    def _in_projected_space(self, score: Score, inputs: Any, target: Any) -> Tensor:
        """``(ΦᵀΦ/N + λ)⁻¹ φ(g_test)``, ``[Q, D]``."""
        plain = GradDotScore(
            score.model, score.loss_fn, score.output_fn, score.choice, score.measure_fn
        )
        projected = self.index.project(plain.test_gradients(inputs, target))
        if self._preconditioner is None:
            self._preconditioner = Preconditioner(second_moment(self.index), DAMPING)
        return self._preconditioner.solve(projected.cpu()).to(projected)


def in_turn(some: Tensor, others: Tensor) -> Tensor:
    """As many distinct numbers as one of the two has, ``[Q, count]``, one from each in turn."""
    both = torch.stack([some, others], 2).flatten(1).tolist()
    return torch.tensor([list(dict.fromkeys(row))[: some.shape[1]] for row in both])
