"""Which training examples of a stream of scores are the most influential?"""

from __future__ import annotations

import operator
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor


def most_influential(parts: Iterator[Tensor], k: int, proponents: bool) -> tuple[Tensor, Tensor]:
    """The ``k`` best of a stream of scores; of equal scores the earlier example comes first.

    Args:
        parts: scores ``[Q, B]``, or tables ``[Q, B, ...]`` whose first entry is the score.
        k: how many.
        proponents: whether the highest are the best.

    Returns:
        Their indices ``[Q, k]``, and what the stream has of them.
    """
    indices, best = torch.empty(0, dtype=torch.long), torch.empty(0)
    seen = 0
    for table in parts:
        count = table.shape[1]
        found = torch.arange(seen, seen + count).expand(table.shape[:2])
        if seen:
            found, table = torch.cat([indices, found], 1), torch.cat([best, table], 1)
        seen += count
        scores = table if table.ndim == 2 else table[..., 0]
        order = scores.argsort(dim=1, descending=proponents, stable=True)[:, :k]
        rows = torch.arange(len(table)).unsqueeze(1)
        indices, best = found[rows, order], table[rows, order]
    return indices, best


def checked_k(k: Any) -> int | None:
    """How many are wanted; ``None``: all.

    Raises:
        ValueError: it is no whole number of at least 1.
    """
    if k is None:
        return None
    if not hasattr(k, "__index__") or k < 1:
        raise ValueError(f"k is {k!r}; it must be at least 1, or None for all scores.")
    return operator.index(k)
