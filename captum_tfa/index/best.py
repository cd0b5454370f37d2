"""The best of an index, which for one question takes little longer than reading the files.

Turning every stored float16 into float32 is most of what one question pays for. In float16 its
product reads the file once and is done, and the error has a bound: with ``x`` a stored row, ``w``
the question and ``w'`` what is left of it in float16,

    |⟨x, w⟩ − ⟨x, w'⟩|  ≤  ‖x‖ ‖w − w'‖  +  rounding of the sum.

What cannot be among the best by this bound is passed over; the few others are scored in float32.
Several questions share the turning into float32, and are scored in it at once.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from captum_tfa.index.gradient_index import GradientIndex
from captum_tfa.index.rows import Rows
from captum_tfa.index.search import Best, Ranking, Scoring, best_of

# What rounding to float16 and to float32 may change, relatively.
_HALF, _SINGLE = 2.0**-11, 2.0**-24
_LEAST = torch.finfo(torch.float16).tiny
# So many are scored in float32 before there is anything to compare a bound with.
_FIRST = 1024


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
    halves = vectors.device.type == "cpu" and index.settings.precision == "float16"
    if halves and len(vectors) == 1:
        return _of_one(index, vectors[0].to(torch.float32), scoring, k, highest)
    return best_of((scoring(rows, rows.inner(vectors)) for rows in index.chunks()), k, highest)


def _of_one(index: GradientIndex, vector: Tensor, scoring: Scoring, k: int, highest: bool) -> Best:
    """`best` for one question."""
    bounded = _Bounded(vector, 1 if highest else -1)
    ranking = Ranking(k, highest)
    grows: bool | None = None
    for rows in _pieces(index):
        worst, numbers = ranking.worst, torch.arange(rows.start, rows.start + len(rows.norms))
        if worst is not None and rows.longest is not None and grows:
            bounds = scoring(rows, bounded.products(rows, rows.longest))[0]
            places = (bounds > worst[0] if highest else bounds < worst[0]).nonzero()[:, 0]
            if not len(places):
                continue
            rows, numbers = rows.part(places), numbers[places]
        products = _products(rows, vector)
        scores = scoring(rows, products)
        if grows is None:
            grows = _grows(scoring, rows, products, scores)
        ranking.add(scores, numbers)
    return ranking.found()


def _pieces(index: GradientIndex) -> Iterator[Rows]:
    """All rows in their order; the first piece is small, since nothing bounds it yet."""
    for rows in index.chunks():
        if rows.start == 0:
            yield rows.part(slice(0, _FIRST))
            rows = rows.part(slice(_FIRST, len(rows.norms)))
        if len(rows.norms):
            yield rows


def _products(rows: Rows, vector: Tensor) -> Tensor:
    """Inner products ``[n, 1]`` in float32, of equal rows the same wherever they stand."""
    parts = [(part * vector).sum(1) for part in rows.directions(vector.device)]
    return (torch.cat(parts) * (rows.norms / rows.scale))[:, None]


def _grows(scoring: Scoring, rows: Rows, products: Tensor, scores: Tensor) -> bool:
    """Whether scores are multiples, not below 0, of the products: then a bound stays one."""
    twice = torch.equal(scoring(rows, 2 * products), 2 * scores)
    return twice and bool((scores * products.T >= 0).all())


class _Bounded:
    """What the product with a question is at most, or at least, from its product in float16.

    Args:
        vector: the question, ``[D]``, float32.
        sign: 1 for at most, -1 for at least.
    """

    def __init__(self, vector: Tensor, sign: int) -> None:
        self.sign = sign
        self._length = float(vector.norm())
        question = vector / (self._length or 1.0)
        # Numbers below float16's normal ones would slow every row down, and count for nothing.
        self._half = question.masked_fill(question.abs() < _LEAST, 0).to(torch.float16)
        lost = float((question - self._half.to(torch.float32)).norm())
        # Sums in float32, in any order, of these products and of those that are compared.
        self._per_length = lost + 2 * len(vector) * _SINGLE

    def products(self, rows: Rows, longest: float) -> Tensor:
        """``[n, 1]``, of rows that are no longer than ``longest``."""
        found = (rows.stored @ self._half).to(torch.float32)
        slack = found.abs().mul_(1.01 * _HALF).add_(longest * self._per_length)
        found.add_(slack, alpha=self.sign).mul_(rows.norms * (self._length / rows.scale))
        return found[:, None]
