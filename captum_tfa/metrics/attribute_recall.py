"""Do the training images that share an attribute with a query come first in its ranking?

The attribute may be a class, a style, a background, a planted cue. Measured on queries that no
weight of the score was learned from [li2026learning].
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.utils.data import DataLoader

from captum_tfa.gradients.batches import split
from captum_tfa.influence import ScoreInfluence


def attribute_recall(
    influence: ScoreInfluence, queries: Any, shares: Tensor, k: int = 10
) -> Tensor:
    """The part of the ``k`` highest scores that share the query's attribute, ``[Q]`` in [0, 1].

    Of fewer training examples than ``k`` that share it, the part of those that are among the ``k``
    (*choice*: recall over what can be found). By chance it is the part of the training set that
    shares it.

    Args:
        influence: Ranks the training set.
        queries: Test images ``[Q, ...]``, or ``(test_images, labels)``.
        shares: Which training examples share the attribute: boolean ``[N]``, or ``[Q, N]`` where
            it differs from query to query. At least one a query.
        k: How many of the highest scores are looked at, at least 1.

    Raises:
        ValueError: A query from which weights in the score were learned; ``shares`` of another
            shape or type, or without an example; otherwise as `ScoreInfluence.influence`.
    """
    inputs = split(queries)[0]
    for weights in influence.score.weights:
        weights.refuse_queries(inputs)
    best = influence.influence(queries, k)
    indices: Tensor = best.indices
    known = shares.cpu().expand(len(indices), -1) if shares.dim() == 1 else shares.cpu()
    data = influence.train_dataset
    count = len(data.dataset if isinstance(data, DataLoader) else data)  # type: ignore[arg-type]
    if shares.dtype != torch.bool or known.shape != (len(indices), count):
        raise ValueError(
            f"shares is {shares.dtype} {list(shares.shape)}; give boolean [{count}], or "
            f"[{len(indices)}, {count}], with one entry for each training example."
        )
    there = known.sum(1)
    if not bool((there > 0).all()):
        raise ValueError(
            f"No training example shares the attribute of query {int((there == 0).nonzero()[0])}; "
            "leave it out."
        )
    found = known.gather(1, indices).sum(1)
    return found / there.clamp(max=indices.shape[1])
