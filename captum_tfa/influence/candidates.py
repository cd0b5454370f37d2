"""Which training examples are worth an exact score, as an index sees them.

``⟨φ(g), φ(u)⟩`` with ``u = H⁻¹ g_test`` estimates ``⟨g, u⟩`` without bias, with a noise of
``‖g‖‖u‖ / √D``. But ``H⁻¹`` turns ``u`` away from what all gradients share, so products are small
and the noise is not. Influence in the projected space, ``φ(g)ᵀ (ΦᵀΦ/N + λ)⁻¹ φ(g_test)``, leaves
out what all share after projecting, and so has less noise, but another curvature than ``H``. Where
one of the two is bad the other one is good: each gives half of the first candidates of a score with
curvature. Then their exact scores tell where to look next (see `foretelling`).
"""

from __future__ import annotations

from collections.abc import Callable
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
_ROUNDS = 4
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

    def scored(
        self,
        inputs: Any,
        target: Any,
        count: int,
        proponents: bool,
        exact: Callable[[StoredGradients, Tensor], Tensor],
    ) -> tuple[Tensor, Tensor]:
        """Numbers of examples and their exact scores, ``[Q, count]``, or as many as there are.

        With curvature they come in rounds, each of which tells where the next one looks.

        Args:
            inputs: test images.
            target: their labels, or ``None``.
            count: how many.
            proponents: whether those with the highest scores are wanted, or the lowest.
            exact: from the test gradients the exact scores ``[Q, n]`` of examples ``[n]``.
        """
        tests = self.score.test_gradients(inputs, target)
        first = self.find(tests, inputs, target, count, proponents)
        if not self.in_rounds(count):
            return first, _own(exact, tests, first)
        projected = self.index.project(tests)
        size = -(-count // _ROUNDS)
        known = first[:, :size]
        scores = _own(exact, tests, known)
        while known.shape[1] < count:
            vectors = foretold(self.index, Scoring(self.score, tests), projected, known, scores)
            wanted = min(size, count - known.shape[1])
            found = self._best(vectors, tests, known.shape[1] + wanted, proponents).indices
            more = _others(found, known, wanted)
            scores = torch.cat([scores, _own(exact, tests, more)], 1)
            known = torch.cat([known, more], 1)
        return known, scores

    def find(
        self, tests: StoredGradients, inputs: Any, target: Any, count: int, proponents: bool
    ) -> Tensor:
        """Numbers of examples, ``[Q, count]``, or as many as there are; the likeliest first.

        Args:
            tests: the test gradients of the score.
            inputs: as for `scored`.
            target: likewise.
            count: likewise.
            proponents: likewise.
        """

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


def _own(
    exact: Callable[[StoredGradients, Tensor], Tensor], tests: StoredGradients, candidates: Tensor
) -> Tensor:
    """The exact scores of each question's own candidates ``[Q, n]``."""
    rows, places = candidates.unique(return_inverse=True)
    return exact(tests, rows).gather(1, places)


def _others(found: Tensor, known: Tensor, count: int) -> Tensor:
    """The first ``count`` of each row ``[Q, n]`` that are not known."""
    pairs = zip(found.tolist(), map(set, known.tolist()), strict=True)
    return torch.tensor(
        [[number for number in row if number not in there][:count] for row, there in pairs]
    )
