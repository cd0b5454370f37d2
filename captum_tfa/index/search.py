"""Scores of all training examples from their projections: every one of them, or the best."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from captum_tfa.gradients import Gradients, StoredGradients
from captum_tfa.gradients.rule import Products
from captum_tfa.index.gradient_index import GradientIndex
from captum_tfa.index.rows import Rows
from captum_tfa.scores import Score

_INDEX_BITS = 32


class Best(NamedTuple):
    """The best training examples of each of ``Q`` questions, the best first.

    Attributes:
        indices: ``[Q, k]``.
        scores: ``[Q, k]``.
    """

    indices: Tensor
    scores: Tensor


@dataclass(frozen=True)
class _Indexed(Gradients):
    """Gradients of which only inner products with tests and norms are known.

    What a `Score` makes of products it makes of these as of any other, and so an index serves
    every score that looks at nothing else.
    """

    inner: Tensor
    squares: Tensor

    def products(self, tests: StoredGradients | None, rows: Tensor | None) -> Products:
        return Products(self.inner, self.squares)

    def dense(self) -> dict[str, Tensor]:
        raise TypeError(
            "This needs the gradient of each training example itself (RelatIF does, and the "
            "self-influence of every score with curvature), and an index has projections only. "
            "Take ScoreInfluence(score, train_dataset)."
        )

    def stored(self) -> StoredGradients:
        return StoredGradients(self.dense(), self.squares)  # type: ignore[arg-type]


def estimates(score: Score, index: GradientIndex, tests: StoredGradients) -> Iterator[Tensor]:
    """The scores of all training examples as their projections tell them.

    Args:
        score: of the index's model, loss and parameters.
        index: the finished index.
        tests: gradients of ``Q`` test examples, from `Score.test_gradients`.

    Yields:
        ``[Q, n]``, in the order of the training set, on the CPU.

    Raises:
        TypeError: the score needs more of a training gradient than products.
        ValueError: the index is not finished, or a file is missing or has been cut.
    """
    projected, of = index.project(tests), Scoring(score, tests)
    for rows in index.chunks():
        yield of(rows, rows.inner(projected))


class Scoring:
    """What a score makes of inner products with tests.

    Args:
        score: of the index's model, loss and parameters.
        tests: gradients of ``Q`` test examples, from `Score.test_gradients`.
    """

    def __init__(self, score: Score, tests: StoredGradients) -> None:
        self._score = score
        self._constants = StoredGradients({}, tests.squares.to(torch.float32))

    def __call__(self, rows: Rows, inner: Tensor) -> Tensor:
        """Scores ``[Q, n]`` from rows of an index and inner products ``[n, Q]``, on the CPU."""
        train = _Indexed(rows.losses, {}, inner, rows.norms.to(inner.device).square())
        return self._score.of(train, self._constants, None).T.cpu()

    def only(self, question: int) -> Scoring:
        """The same for one of the tests."""
        part = self._constants.squares[question : question + 1]
        return type(self)(self._score, StoredGradients({}, part))


def best_of(parts: Iterable[Tensor], k: int, highest: bool) -> Best:
    """The ``k`` best of a stream of scores; of equal scores the earlier example comes first.

    Args:
        parts: scores ``[Q, n]`` in the order of the training set, compared in float32.
        k: how many, at least 1.
        highest: whether the highest scores are the best, or the lowest.
    """
    ranking = Ranking(k, highest)
    start = 0
    for scores in parts:
        places = torch.arange(start, start + scores.shape[1])
        start += scores.shape[1]
        worst = ranking.worst
        if worst is not None:
            # Most are worse than what there is already, for every question.
            better = (scores > worst if highest else scores < worst).any(0)
            scores, places = scores[:, better], places[better]
        ranking.add(scores, places)
    return ranking.found()


class Ranking:
    """The best so far of scores that come in the order of the training set.

    Args:
        k: how many, at least 1.
        highest: whether the highest scores are the best, or the lowest.
    """

    def __init__(self, k: int, highest: bool) -> None:
        self.k, self.highest = k, highest
        self._keys: Tensor | None = None

    @property
    def worst(self) -> Tensor | None:
        """The last of the best ``k`` for each question, ``[Q, 1]``; ``None`` while there are fewer.

        An example that comes later must be better.
        """
        if self._keys is None or self._keys.shape[1] < self.k:
            return None
        return _read(self._keys[:, -1:], self.highest)[1]

    def add(self, scores: Tensor, places: Tensor) -> None:
        """Take in the scores ``[Q, n]`` of examples with the numbers ``[n]`` or ``[Q, n]``."""
        found = _keys((scores if self.highest else -scores).to(torch.float32), places)
        together = found if self._keys is None else torch.cat([self._keys, found], 1)
        self._keys = together.topk(min(self.k, together.shape[1]), dim=1).values

    def found(self) -> Best:
        """The best, as far as they are known."""
        if self._keys is None:
            raise ValueError("There is nothing to rank.")
        return Best(*_read(self._keys, self.highest))


def _keys(scores: Tensor, places: Tensor) -> Tensor:
    """Whole numbers in the order of float32 scores; of equal ones the later example's is less.

    The bits of a number above 0 are in the order of the numbers; below 0 they are turned round.
    """
    bits = (scores + 0.0).contiguous().view(torch.int32).long()
    ordered = torch.where(bits < 0, -(2**31) - bits - 1, bits)
    keys: Tensor = (ordered << _INDEX_BITS) + (2**_INDEX_BITS - 1 - places)
    return keys


def _read(keys: Tensor, highest: bool) -> tuple[Tensor, Tensor]:
    """Indices and scores of `_keys`."""
    ordered = keys >> _INDEX_BITS
    places = 2**_INDEX_BITS - 1 - (keys - (ordered << _INDEX_BITS))
    bits = torch.where(ordered < 0, -(2**31) - ordered - 1, ordered)
    scores = bits.to(torch.int32).view(torch.float32)
    return places, scores if highest else -scores


def self_influence(score: Score, index: GradientIndex) -> Iterator[Tensor]:
    """The score of each training example for itself, ``[n]``, from its exact norm.

    Raises:
        TypeError: the score needs more of a gradient than its norm.
        ValueError: the score measures test examples otherwise than training examples.
    """
    if score._measured is not score._gradients:
        raise ValueError(
            "With a measure_fn an example's self-influence needs two gradients of it, and an index "
            "has one. Take ScoreInfluence(score, train_dataset)."
        )
    for rows in index.chunks():
        yield score.of_same(_with_norms(rows))


def _with_norms(rows: Rows) -> Gradients:
    squares = rows.norms.square()
    return _Indexed(rows.losses, {}, squares, squares)
