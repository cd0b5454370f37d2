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


def layout_of(delta: Tensor, weighted: Tensor, weights: Tensor, leading: int) -> Layout:
    """Whose a delta is.

    Args:
        delta: gradient of the sum of the losses at an output.
        weighted: the same with the losses weighted by ``weights``.
        weights: from `example_weights`, ``[B]``.
        leading: how many dimensions of the output enumerate positions.
    """
    batch = len(weights)
    positions = delta.shape[:leading].numel()
    if positions % batch or not delta.any():
        return Layout.SHARED
    # Rounding differs between the two passes; a delta of the wrong example differs by 1 / B.
    tolerance = max(1e-6, 100 * torch.finfo(delta.dtype).eps) * weighted.abs().max()
    tolerance = torch.minimum(tolerance, 0.1 / batch * weighted.abs().max())
    for layout in (Layout.EXAMPLE_FIRST, Layout.EXAMPLE_LAST):
        arranged = by_example(delta, leading, batch, layout)
        expected = arranged * weights.view(-1, *[1] * (arranged.ndim - 1))
        given = by_example(weighted, leading, batch, layout)
        if bool(((given - expected).abs() <= tolerance).all()):
            return layout
    return Layout.SHARED
