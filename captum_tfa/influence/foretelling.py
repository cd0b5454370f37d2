"""What the exact scores of some training examples foretell of all others.

A score with curvature is a linear function of the training gradient's direction, and so nearly one
of its projection. Estimates say where it is high, with a noise that is as large as the scores.
Exact scores have no noise: ridge regression on those that are known tells where to look next.
"""

from __future__ import annotations

import torch
from torch import Tensor

from captum_tfa.index import GradientIndex
from captum_tfa.index.rows import Rows
from captum_tfa.index.search import Scoring

#: The ridge, where a direction's product with itself is about 1.
RIDGE = 0.1
# So many questions hold the directions of what they know in memory at once.
_AT_ONCE = 32


def foretold(
    index: GradientIndex, scoring: Scoring, tests: Tensor, known: Tensor, scores: Tensor
) -> Tensor:
    """The projected test gradients whose scores are nearest to those that are known.

    With ``d = φ / ‖g‖`` of the ``n`` known examples as the rows of ``X``, ``t`` their scores over
    what an inner product with ``d`` is multiplied with, and ``p`` the projected test gradient:
    ``b p + Xᵀ (X Xᵀ + 0.1)⁻¹ (t − b X p)``. How much estimates by ``p`` are worth is what ``t``
    says of them: ``b = ⟨X p, t⟩ / ‖X p‖²``, at least 0.

    Args:
        index: the finished index.
        scoring: what a score makes of inner products.
        tests: the projections of the test gradients, ``[Q, D]``.
        known: numbers of examples, ``[Q, n]``.
        scores: their exact scores, ``[Q, n]``.

    Returns:
        ``[Q, D]``, float32.
    """
    found: list[Tensor] = []
    for some, own in zip(known.split(_AT_ONCE), scores.split(_AT_ONCE), strict=True):
        numbers, places = some.unique(return_inverse=True)
        rows = _rows(index, numbers)
        for place, score in zip(places, own, strict=True):
            mine = rows.part(place)
            factors = scoring.only(len(found))(mine, mine.norms[:, None].to(torch.float32))[0]
            targets = (score / factors).masked_fill(factors == 0, 0).double()
            directions = torch.cat([part.clone() for part in mine.directions(targets.device)])
            directions = directions.double() / mine.scale
            kernel = directions @ directions.T
            kernel.diagonal().add_(RIDGE)
            test = tests[len(found)].double()
            estimates = directions @ test
            squares = estimates.square().sum()
            worth = ((estimates @ targets) / squares.where(squares > 0, 1)).clamp(min=0)
            missing = targets - worth * estimates
            found.append(worth * test + directions.T @ torch.linalg.solve(kernel, missing))
    return torch.stack(found).to(torch.float32)


def _rows(index: GradientIndex, numbers: Tensor) -> Rows:
    """Some rows by their numbers ``[n]``, in order, read into memory."""
    parts = [rows for _, rows in index.picked(numbers)]
    stored, norms, losses = (
        torch.cat([getattr(part, name) for part in parts]) for name in ("stored", "norms", "losses")
    )
    return Rows(0, stored, norms, losses, index.settings.scale)
