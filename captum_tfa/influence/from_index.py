"""Ranking from an index: its estimates find the candidates, the engine scores these exactly."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor

from captum_tfa.gradients import StoredGradients
from captum_tfa.index import GradientIndex
from captum_tfa.index.lists import Lists
from captum_tfa.index.parts import refuse_other_parts, refuse_several_data
from captum_tfa.index.search import Best, best_of, estimates, self_influence
from captum_tfa.influence.candidates import Candidates
from captum_tfa.scores import Score, SumOfScores


class FromIndex:
    """The scores of training examples by way of their projections.

    Args:
        score: a score of the index's model, loss and parameters, or a sum of such scores.
        indices: the index, or for a sum one for each of its parts.
        batch_size: training examples at once when they are scored again.
        approximate: whether a few lists are searched instead of the whole index.

    Raises:
        TypeError: something else than an index, or a `TrakScore`.
        ValueError: indices of another number than parts, or of several data sets; an approximate
            search for a sum.
        ImportError: faiss, with which lists are found, is not installed.
    """

    def __init__(
        self, score: Score, indices: Sequence[Any], batch_size: int, approximate: bool = False
    ) -> None:
        for index in indices:
            if not isinstance(index, GradientIndex):
                raise TypeError(
                    f"A {type(index).__name__} is among the indices; give what GradientIndex.open "
                    "or GradientIndex.build returns."
                )
        self.score, self.batch_size = score, batch_size
        self.indices: list[GradientIndex] = list(indices)
        refuse_several_data(self.indices)
        self.data = next((each.data for each in self.indices if each.data is not None), None)
        refuse_other_parts(score, self.indices)
        summed = isinstance(score, SumOfScores)
        if summed and approximate:
            raise ValueError(
                f"A {type(score).__name__} is a sum over several indices, and what is best in the "
                "sum need not be in the lists that are best in one of them; leave approximate out."
            )
        lists = Lists(self.indices[0]) if approximate else None
        self._finder = None if summed else Candidates(score, self.indices[0], lists)

    def scores(self, inputs: Any, target: Any) -> Iterator[Tensor]:
        """Estimated scores of every training example, ``[Q, n]``, in their order."""
        if not isinstance(self.score, SumOfScores):
            return estimates(self.score, self.indices[0], self.score.test_gradients(inputs, target))
        labels = self.score.predictions(inputs) if target is None else target

        def table(part: Score, index: GradientIndex) -> Tensor:
            return torch.cat([*estimates(part, index, part.test_gradients(inputs, labels))], 1)

        return iter([self._of_each(table)])

    def best(
        self, inputs: Any, target: Any, k: int, proponents: bool, rerank: int
    ) -> tuple[Tensor, Tensor]:
        """The ``k`` best training examples, ``[Q, k]`` indices and scores.

        Args:
            inputs: test images.
            target: their labels, or ``None``.
            k: how many.
            proponents: whether the highest scores are the best.
            rerank: so many of the best by estimate are scored exactly, and ``k`` if that is more;
                0 leaves it at estimates. Without the data set it is that too.
        """
        if self.data is None or rerank == 0:
            return self._by_estimate(inputs, target, k, proponents)
        candidates, scores = self._scored(inputs, target, max(k, rerank), proponents)
        candidates, order = candidates.sort(1)  # of equal scores the earlier example first
        scores = scores.gather(1, order)
        order = scores.argsort(dim=1, descending=proponents, stable=True)[:, :k]
        return candidates.gather(1, order), scores.gather(1, order)

    def _scored(
        self, inputs: Any, target: Any, count: int, proponents: bool
    ) -> tuple[Tensor, Tensor]:
        """Candidates ``[Q, count]``, or as many as there are, and their exact scores."""
        if self._finder is not None:
            exact = partial(self._against, self.score)
            return self._finder.scored(inputs, target, count, proponents, exact)
        candidates = self._by_estimate(inputs, target, count, proponents).indices
        rows, places = candidates.unique(return_inverse=True)
        return candidates, self.exact(inputs, target, rows).gather(1, places)

    def _by_estimate(self, inputs: Any, target: Any, k: int, proponents: bool) -> Best:
        if self._finder is None:
            return best_of(self.scores(inputs, target), k, proponents)
        return self._finder.by_estimate(inputs, target, k, proponents)

    def exact(self, inputs: Any, target: Any, rows: Tensor) -> Tensor:
        """The exact scores ``[Q, n]`` of some training examples, by their numbers ``[n]``."""
        if target is None and isinstance(self.score, SumOfScores):
            target = self.score.predictions(inputs)
        return self.score.over_parts(
            lambda part: (self._against(part, part.test_gradients(inputs, target), rows),)
        )[0]

    def _against(self, part: Score, tests: StoredGradients, rows: Tensor) -> Tensor:
        """The scores ``[Q, n]`` of one part, by the numbers ``[n]`` of training examples."""
        data = self.data
        assert data is not None
        device = next(part.model.parameters()).device
        batches = data.batches(rows.tolist(), device, self.batch_size)
        found = [part.against(batch.inputs, batch.labels, tests).cpu() for batch in batches]
        return torch.cat(found).T

    def self_influence(self) -> Tensor:
        """The score of every training example for itself, ``[N]``, from its exact norm."""
        return self._of_each(lambda part, index: torch.cat([*self_influence(part, index)]))

    def _of_each(self, compute: Callable[[Score, GradientIndex], Tensor]) -> Tensor:
        """What is additive, from each part of the score and its index."""
        remaining = iter(self.indices)
        return self.score.over_parts(lambda part: (compute(part, next(remaining)),))[0]
