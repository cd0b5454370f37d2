"""The best of an index, in little more time than reading a half of it takes.

Turning every stored number into float32 is most of what a question pays for. A product of the codes
in 8 bits bounds what a row's score can be. Rows that may be among the best by this bound wait. When
there are many of them, or no more rows, the most promising ones are scored in float32, which rules
most of the others out; at the end those are scored that are left.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from captum_tfa.index.codes import CodedQuestions, exact_here
from captum_tfa.index.gradient_index import GradientIndex
from captum_tfa.index.rows import Rows
from captum_tfa.index.search import Best, Ranking, Scoring, best_of

# So many times ``k`` rows are scored in float32 before there is anything to compare a bound with.
_FIRST = 2
# On so many rows it is seen what kind of a score it is.
_LOOKED_AT = 256
# So many bounds of rows and questions are computed at once, which stay in the cache.
_AT_ONCE = 2**18
# So many pairs of a row and a question wait, at most.
_WAITING = 2**21
# Bounds pay if fewer than this share of all rows are wanted: several times as many are scored.
_FEW = 1 / 500


def best(index: GradientIndex, vectors: Tensor, scoring: Scoring, k: int, highest: bool) -> Best:
    """The ``k`` best training examples; of equal scores the earlier one comes first.

    Args:
        index: the finished index.
        vectors: projections of questions, ``[Q, D]``.
        scoring: what is made of inner products with them.
        k: how many, at least 1.
        highest: whether the highest scores are the best, or the lowest.

    Raises:
        ValueError: the index is not finished, or a file is missing or has been cut.
    """
    few = k < _FEW * len(index)
    if vectors.device.type == "cpu" and few and index.coded and exact_here(*vectors.T.shape):
        units = _units(scoring, len(vectors), next(index.chunks(_LOOKED_AT)))
        if units is not None:
            return _Search(index, vectors.to(torch.float32), scoring, units, k, highest).best()
    return best_of((scoring(rows, rows.inner(vectors)) for rows in index.chunks()), k, highest)


def _units(scoring: Scoring, questions: int, rows: Rows) -> Tensor | None:
    """The scores that each question gives where the first one gives 1, ``[Q]``.

    ``None`` if scores are not products of a number above 0 for each question, a number for each
    row, and the inner product: then a bound of that bounds nothing.
    """
    ones = torch.ones(len(rows.norms), questions)
    scores, of_rows = scoring(rows, ones), _of_rows(scoring.only(0), rows)
    place = of_rows.abs().argmax()
    units = scores[:, place] / of_rows[place]
    products = torch.allclose(scores, units[:, None] * of_rows, rtol=1e-5, atol=0)
    grow = torch.equal(scoring(rows, -2 * ones), -2 * scores)
    return units if products and grow and bool((units > 0).all()) else None


def _of_rows(first: Scoring, rows: Rows) -> Tensor:
    """What a row's inner product is multiplied with in the first question's scores, ``[n]``."""
    return first(rows, torch.ones(len(rows.norms), 1))[0]


class _Pairs(NamedTuple):
    """Pairs of a row and a question.

    Attributes:
        questions: ``[m]``.
        numbers: of the rows, ``[m]``.
        bounds: of the scores, each question's in a unit of its own, ``[m]``.
    """

    questions: Tensor
    numbers: Tensor
    bounds: Tensor

    def part(self, places: Tensor) -> _Pairs:
        """Some of them."""
        return _Pairs(*(each[places] for each in self))


class _Search:
    """`best` by way of bounds.

    Args:
        index, vectors, scoring, k, highest: as there.
        units: from `_units`.
    """

    def __init__(
        self,
        index: GradientIndex,
        vectors: Tensor,
        scoring: Scoring,
        units: Tensor,
        k: int,
        highest: bool,
    ) -> None:
        self.index, self.vectors, self.scoring, self.highest = index, vectors, scoring, highest
        self.ranking = Ranking(k, highest)
        self._first = scoring.only(0)
        self._coded = CodedQuestions(vectors)
        self._units = units * self._coded.units

    def best(self) -> Best:
        """The best of all rows."""
        waiting: list[_Pairs] = []
        count = 0
        for rows in self._pieces():
            if self.ranking.worst is None:
                self._score(self._all(rows))
                continue
            waiting.append(self._bounded(rows))
            count += len(waiting[-1].numbers)
            if count > _WAITING:
                left = self._promising(waiting)
                waiting, count = [left], len(left.numbers)
                if count > _WAITING // 2:  # the bounds tell too little of these
                    self._score(left)
                    waiting, count = [], 0
        if waiting:
            self._score(self._promising(waiting))
        return self.ranking.found()

    def _pieces(self) -> Iterator[Rows]:
        """All rows in their order; the first piece is small, since nothing bounds it yet."""
        most = max(1, _AT_ONCE // len(self.vectors))
        stop = min(_FIRST * self.ranking.k, most)
        for rows in self.index.chunks():
            start = 0
            while start < len(rows.norms):
                yield rows.part(slice(start, stop))
                start, stop = stop, stop + most
            stop = most

    def _all(self, rows: Rows) -> _Pairs:
        """The pairs of some rows and every question, of which nothing is known yet."""
        numbers = torch.arange(rows.start, rows.start + len(rows.norms))
        questions = torch.arange(len(self.vectors)).repeat_interleave(len(numbers))
        return _Pairs(questions, numbers.repeat(len(self.vectors)), torch.empty(len(questions)))

    def _bounded(self, rows: Rows) -> _Pairs:
        """The pairs of some rows that may be among the best."""
        assert rows.codes is not None
        factors = _of_rows(self._first, rows) * (rows.norms / rows.scale)
        bounds = self._coded.most(rows.codes, factors, not self.highest)
        may = self._may_be_best(bounds, slice(None))
        pairs = torch.from_numpy(np.flatnonzero(may))  # ten times as fast as torch's
        places, questions = pairs // len(self.vectors), pairs % len(self.vectors)
        return _Pairs(questions, rows.start + places, bounds.flatten()[pairs])

    def _may_be_best(self, bounds: Tensor, questions: Tensor | slice) -> Tensor:
        """Whether scores with these bounds can be as good as what there is."""
        worst = self.ranking.worst
        assert worst is not None
        worst = (worst[:, 0] / self._units)[questions]
        # As good is enough: of equal scores the earlier row is better, and rows have waited.
        may: Tensor = bounds >= worst if self.highest else bounds <= worst
        return may

    def _promising(self, waiting: list[_Pairs]) -> _Pairs:
        """Score the ``k`` most promising pairs of each question.

        Returns:
            The others that may still be among the best.
        """
        pairs = _Pairs(*(torch.cat(each) for each in zip(*waiting, strict=True)))
        chosen = []
        for own in self._of_each(pairs.questions):
            count = min(self.ranking.k, len(own))
            chosen.append(own[pairs.bounds[own].topk(count, largest=self.highest).indices])
        promising = torch.cat(chosen)
        self._score(pairs.part(promising))
        left = self._may_be_best(pairs.bounds, pairs.questions)
        left[promising] = False
        return pairs.part(left)

    def _of_each(self, questions: Tensor) -> tuple[Tensor, ...]:
        """The places of each question's pairs, in their order."""
        # Short numbers are sorted in one sweep.
        short = questions.to(torch.int16) if len(self.vectors) < 2**15 else questions
        order = torch.from_numpy(np.argsort(short.numpy(), kind="stable"))
        counts = questions.bincount(minlength=len(self.vectors)).tolist()
        each: tuple[Tensor, ...] = order.split(counts)
        return each

    def _score(self, pairs: _Pairs) -> None:
        """Score pairs in float32 and rank them."""
        numbers, order = pairs.numbers.sort()
        # Of each pair the inner product, the norm, the loss.
        found = torch.empty(3, len(order))
        for here, rows in self.index.picked(numbers):
            products = _products(rows, self.vectors, pairs.questions[order[here]])
            found[:, order[here]] = torch.stack([products, rows.norms, rows.losses])
        each = self._of_each(pairs.questions)
        never = -math.inf if self.highest else math.inf
        scores = torch.full((len(each), max(map(len, each))), never)
        places = torch.zeros(scores.shape, dtype=torch.long)
        for question, own in enumerate(each):
            products, norms, losses = found[:, own]
            some = Rows(0, products.new_empty(len(own), 0), norms, losses, 1.0)
            asked = products[:, None].expand(-1, len(each))
            scores[question, : len(own)] = self.scoring(some, asked)[question]
            places[question, : len(own)] = pairs.numbers[own]
        self.ranking.add(scores, places)


def _products(rows: Rows, vectors: Tensor, questions: Tensor) -> Tensor:
    """Inner products ``[n]`` in float32 of rows with each its own question.

    Of equal rows they are the same wherever they stand, which a product of matrices is not.
    """
    parts, start = [], 0
    for part in rows.directions(vectors.device):
        own = vectors.index_select(0, questions[start : start + len(part)])
        parts.append(own.mul_(part).sum(1))
        start += len(part)
    return torch.cat(parts) * (rows.norms / rows.scale)
