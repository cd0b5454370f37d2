"""Points on a plane, near ones beside each other: t-SNE [vandermaaten2008visualizing]."""

from __future__ import annotations

import torch
from torch import Tensor

from captum_tfa.auditing.clustering import LEAST_POINTS, part_of_sklearn

_PERPLEXITY = 30.0


def on_a_plane(points: Tensor, seed: int = 0) -> Tensor:
    """Two coordinates a point.

    Args:
        points: ``[N, D]``, finite. Fewer than `LEAST_POINTS` are laid out by their two principal
            components.
        seed: of the layout.

    Returns:
        ``[N, 2]``, float64, around 0.

    Raises:
        ImportError: scikit-learn is not installed.
    """
    centred = points.double() - points.double().mean(0)
    if len(points) < LEAST_POINTS or not bool(centred.any()):
        return _principal(centred)
    perplexity = min(_PERPLEXITY, (len(points) - 1) / 3)
    layout = part_of_sklearn("manifold").TSNE(
        perplexity=perplexity, init=_principal(centred).numpy(), random_state=seed % 2**32
    )
    found = torch.from_numpy(layout.fit_transform(centred.numpy())).double()
    return found - found.mean(0)


def _principal(centred: Tensor) -> Tensor:
    """Coordinates on the two principal components, the first with a deviation of 1e-4."""
    left, values, _ = torch.linalg.svd(centred, full_matrices=False)
    found = torch.zeros(len(centred), 2, dtype=torch.float64)
    count = min(2, len(values))
    found[:, :count] = left[:, :count] * values[:count]
    spread = found[:, 0].std(correction=0)
    return found / spread * 1e-4 if spread > 0 else found
