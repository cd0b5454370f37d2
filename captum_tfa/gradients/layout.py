"""Which positions of a recorded activation belong to which example of the batch.

Most layers keep the example in the first dimension. Some fold other things into it (attention
windows, time steps), some work with the sequence first, and some see no example at all (a small
network that makes position biases). The answer is not guessed from shapes. The losses are
weighted by a different number for each example: a delta that belongs to example ``i`` then grows
by exactly the number of ``i``, and shows whose it is.
"""

from __future__ import annotations

from enum import Enum

import torch
from torch import Tensor


class Layout(Enum):
    """How ``N = B · r`` positions hold ``B`` examples with ``r`` positions each."""

    EXAMPLE_FIRST = "all positions of one example, then all of the next"
    EXAMPLE_LAST = "one position of every example, then the next of every example"
    SHARED = "positions are shared by the examples; each example needs a pass of its own"


def by_example(tensor: Tensor, leading: int, batch: int, layout: Layout) -> Tensor:
    """Arrange ``[*leading dims, ...]`` as ``[B, r, ...]``."""
    rest = tensor.shape[leading:]
    if layout is Layout.EXAMPLE_LAST:
        return tensor.reshape(-1, batch, *rest).transpose(0, 1)
    return tensor.reshape(batch, -1, *rest)


def example_weights(batch: int, like: Tensor) -> Tensor:
    """A different number for each example, ``[B]``, all within [1, 2]."""
    return torch.linspace(1, 2, batch, dtype=like.dtype, device=like.device)


def layout_of(
    delta: Tensor, weighted: Tensor, weights: Tensor, leading: int
) -> tuple[Layout, bool]:
    """Whose a delta is, and whether this is certain.

    Args:
        delta: gradient of the sum of the losses at an output.
        weighted: the same with the losses weighted by ``weights``.
        weights: from `example_weights`, ``[B]``.
        leading: how many dimensions of the output enumerate positions.

    Returns:
        The layout, and whether every example's delta took part in finding it.
    """
    batch = len(weights)
    if delta.shape[:leading].numel() % batch:
        return Layout.SHARED, True
    first, complete = _fits(Layout.EXAMPLE_FIRST, delta, weighted, weights, leading)
    if delta.shape[:leading].numel() == batch:  # one position each, so there is nothing to choose
        return (Layout.EXAMPLE_FIRST if first else Layout.SHARED), complete
    last, _ = _fits(Layout.EXAMPLE_LAST, delta, weighted, weights, leading)
    if first and not last:
        return Layout.EXAMPLE_FIRST, complete
    if last and not first:
        return Layout.EXAMPLE_LAST, complete
    if first and complete:
        # Both give every position that has a delta to the same example, as when only the class
        # tokens of T ≡ 1 (mod B) have one; other deltas may tell them apart the next time.
        return Layout.EXAMPLE_FIRST, False
    # Both fit where deltas are zero; neither fits where examples share positions.
    return Layout.SHARED, complete and not first


def _fits(
    layout: Layout, delta: Tensor, weighted: Tensor, weights: Tensor, leading: int
) -> tuple[bool, bool]:
    batch = len(weights)
    return _belongs(
        by_example(delta, leading, batch, layout).flatten(1),
        by_example(weighted, leading, batch, layout).flatten(1),
        weights,
    )


def _belongs(delta: Tensor, weighted: Tensor, weights: Tensor) -> tuple[bool, bool]:
    """Whether each row of deltas has grown by its weight, and whether each row tells.

    Rows are compared by their own size: one hard example must not hide the others. A row of
    zeros, or one that is not finite, tells nothing.
    """
    size = weighted.abs().amax(1)
    telling = (size > 0) & size.isfinite()
    # Rounding differs between the two passes; a wrong weight differs by 1 / B.
    tolerance = min(max(1e-6, 100 * torch.finfo(delta.dtype).eps), 0.1 / len(weights))
    error = (weighted - delta * weights[:, None]).abs().amax(1)
    return bool((error <= tolerance * size)[telling].all()), bool(telling.all())
