"""Which training examples of a stream of scores are the most influential?"""

from __future__ import annotations

from collections.abc import Iterator

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
