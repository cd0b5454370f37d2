from __future__ import annotations

import sys

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.cluster import SpectralClustering
from sklearn.metrics import adjusted_rand_score
from torch import Tensor

from captum_tfa.auditing.clustering import (
    LEAST_POINTS,
    MOST_CLUSTERS,
    NEIGHBOURS,
    clusters_by_eigengap,
    neighbour_graph,
    spectral_clusters,
    spectrum,
)


def _blobs(sizes: list[int], apart: float, seed: int) -> tuple[Tensor, Tensor]:
    draw = torch.Generator().manual_seed(seed)
    groups = torch.cat([torch.full((size,), each) for each, size in enumerate(sizes)])
    points = torch.randn(len(groups), 3, generator=draw, dtype=torch.float64)
    points[:, 0] += apart * groups
    order = torch.randperm(len(groups), generator=draw)
    return points[order], groups[order]


def test_the_spectrum_of_a_graph_of_cliques_is_the_closed_form() -> None:
    # A clique of n points without links to itself has the eigenvalues 0 and, n - 1 times, n/(n-1).
    weights = torch.block_diag(*(torch.ones(n, n) - torch.eye(n) for n in (3, 5, 4)))
    values, vectors = spectrum(weights)
    wanted = [0.0] * 3 + [n / (n - 1) for n in (5, 4, 3) for _ in range(n - 1)]
    assert values.tolist() == pytest.approx(wanted, abs=1e-12)
    laplacian = torch.eye(12, dtype=torch.float64) - weights.double() / weights.sum(1)[:, None]
    # In the null space a vector is the same on a clique, up to the root of the degree.
    root = weights.double().sum(1).rsqrt()
    torch.testing.assert_close(
        laplacian @ (root[:, None] * vectors[:, :3]), torch.zeros(12, 3).double()
    )
    assert clusters_by_eigengap(values) == 3


def test_the_eigengap_is_where_eigenvalues_jump() -> None:
    assert clusters_by_eigengap(torch.tensor([0, 0.02, 0.05, 0.6, 0.7, 0.8])) == 3
    assert clusters_by_eigengap(torch.tensor([0, 0.5, 0.6, 0.7])) == 1
    assert clusters_by_eigengap(torch.tensor([0.0])) == 1
    parts = MOST_CLUSTERS + 5
    many = torch.cat([torch.zeros(parts), torch.ones(4)])
    assert clusters_by_eigengap(many) == parts


def test_the_graph_is_that_of_the_nearest_neighbours() -> None:
    points, _ = _blobs([14, 13], 2.0, 0)
    weights = neighbour_graph(points, 4)
    near = torch.cdist(points, points).fill_diagonal_(float("inf")).topk(4, largest=False).indices
    wanted = torch.zeros(27, 27, dtype=torch.float64)
    for point, others in enumerate(near.tolist()):
        for other in others:
            wanted[point, other] += 0.5
            wanted[other, point] += 0.5
    assert torch.equal(weights, wanted)


@settings(max_examples=20, deadline=None)
@given(
    sizes=st.lists(st.integers(LEAST_POINTS, 40), min_size=1, max_size=4),
    seed=st.integers(0, 2**63 - 1),
)
def test_blobs_far_apart_are_never_mixed(sizes: list[int], seed: int) -> None:
    points, groups = _blobs(sizes, 1000.0, seed)
    found = spectral_clusters(points, seed)
    for each in found.unique():
        assert len(groups[found == each].unique()) == 1


def test_blobs_far_apart_are_the_clusters() -> None:
    points, groups = _blobs([30, 50, 25], 30.0, 2)
    found = spectral_clusters(points)
    assert adjusted_rand_score(groups.numpy(), found.numpy()) == 1


def test_clusters_are_those_of_scikit_learn() -> None:
    # Nearer blobs: the graph is one piece.
    points, _ = _blobs([60, 60, 60], 4.0, 3)
    weights = neighbour_graph(points)
    count = clusters_by_eigengap(spectrum(weights)[0])
    assert count == 3
    assert float(spectrum(weights)[0][1]) > 1e-4
    peer = SpectralClustering(
        count, affinity="precomputed", assign_labels="kmeans", random_state=0
    ).fit_predict(weights.numpy())
    assert adjusted_rand_score(peer, spectral_clusters(points).numpy()) > 0.97


def test_few_points_and_equal_points_are_one_cluster() -> None:
    draw = torch.Generator().manual_seed(0)
    assert spectral_clusters(torch.randn(NEIGHBOURS, 2, generator=draw)).tolist() == [0] * 10
    assert spectral_clusters(torch.ones(50, 2)).tolist() == [0] * 50
    assert spectral_clusters(torch.randn(1, 2, generator=draw)).tolist() == [0]


def test_global_chance_is_left_alone() -> None:
    points, _ = _blobs([20, 20], 3.0, 0)
    torch.manual_seed(1)
    np.random.seed(1)
    before = torch.get_rng_state(), np.random.get_state()[1].copy()
    spectral_clusters(points)
    assert torch.equal(torch.get_rng_state(), before[0])
    assert (np.random.get_state()[1] == before[1]).all()


def test_without_scikit_learn_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "sklearn.neighbors", None)
    with pytest.raises(ImportError, match=r'pip install "captum_tfa\[audit\]"'):
        spectral_clusters(torch.randn(20, 2))
