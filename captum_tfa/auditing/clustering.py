"""Which points belong together?  Spectral clustering that chooses the number of clusters itself.

The steps of SpRAy [lapuschkin2019unmasking] for heat maps, which go back to [ng2001spectral]: a
graph of each point's nearest neighbours, ``L = 1 − D^(-1/2) W D^(-1/2)`` of it, as many clusters
as there are eigenvalues below the widest gap, and k-means in the coordinates of their eigenvectors.
"""

from __future__ import annotations

import importlib
from typing import Any

import torch
from torch import Tensor

NEIGHBOURS = 10
"""Neighbours of a point in the graph."""

MOST_CLUSTERS = 12
"""Clusters, at most, unless the graph falls into more parts by itself."""

LEAST_POINTS = NEIGHBOURS + 1
"""With fewer points there is no graph of nearest neighbours, and all are one cluster."""

_ZERO = 1e-8  # eigenvalues below are those of parts without any link
_STARTS = 10  # of k-means


def neighbour_graph(points: Tensor, neighbours: int = NEIGHBOURS) -> Tensor:
    """Weights of links between near points: 1 if both choose each other, 1/2 if one does.

    Args:
        points: ``[N, D]``, finite, at least ``neighbours + 1`` of them.
        neighbours: how many each point chooses, without itself.

    Returns:
        ``[N, N]``, symmetric, its diagonal 0, float64.
    """
    chosen = part_of_sklearn("neighbors").kneighbors_graph(points.double().numpy(), neighbours)
    directed = torch.from_numpy(chosen.toarray())
    return (directed + directed.T) / 2


def spectrum(weights: Tensor) -> tuple[Tensor, Tensor]:
    """Eigenvalues and eigenvectors of the normalised Laplacian of a graph.

    Args:
        weights: ``[N, N]``, symmetric, at least 0, no point without a link.

    Returns:
        The eigenvalues ``[N]`` in [0, 2], lowest first, and their vectors, the columns of
        ``[N, N]``; float64.
    """
    weights = weights.double()
    root = weights.sum(1).rsqrt()
    values, vectors = torch.linalg.eigh(
        torch.eye(len(weights), dtype=torch.float64) - root[:, None] * weights * root
    )
    return values.clamp(min=0), vectors


def clusters_by_eigengap(eigenvalues: Tensor) -> int:
    """How many eigenvalues lie below the widest gap: how many clusters a graph shows.

    Args:
        eigenvalues: ``[N]``, lowest first.

    Returns:
        From 1 to `MOST_CLUSTERS`, or the number of parts without any link if that is more.
    """
    parts = int((eigenvalues < _ZERO).sum())
    first = eigenvalues[: MOST_CLUSTERS + 1]
    if parts >= MOST_CLUSTERS or len(first) < 2:
        return max(1, parts)
    return max(parts, int(first.diff().argmax()) + 1)


def spectral_clusters(points: Tensor, seed: int = 0) -> Tensor:
    """The cluster of each point.

    Args:
        points: ``[N, D]``, finite. With fewer than `LEAST_POINTS`, or if all are the same, they are
            one cluster.
        seed: of k-means.

    Returns:
        ``[N]``, whole numbers from 0.

    Raises:
        ImportError: scikit-learn is not installed.
    """
    if len(points) < LEAST_POINTS or bool((points == points[0]).all()):
        return torch.zeros(len(points), dtype=torch.long)
    values, vectors = spectrum(neighbour_graph(points))
    count = clusters_by_eigengap(values)
    coordinates = torch.nn.functional.normalize(vectors[:, :count], dim=1)
    means = part_of_sklearn("cluster").KMeans(count, n_init=_STARTS, random_state=seed % 2**32)
    return torch.from_numpy(means.fit_predict(coordinates.numpy())).long()


def part_of_sklearn(name: str) -> Any:
    """A module of scikit-learn.

    Raises:
        ImportError: It is not installed.
    """
    try:
        return importlib.import_module(f"sklearn.{name}")
    except ImportError as error:
        raise ImportError(
            "an audit groups regions with scikit-learn, which is not installed: "
            'pip install "captum_tfa[audit]"'
        ) from error
