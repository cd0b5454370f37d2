from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from captum_tfa.auditing.embedding import on_a_plane


def test_the_nearest_on_the_plane_is_of_the_same_blob() -> None:
    draw = torch.Generator().manual_seed(0)
    groups = torch.arange(60) % 3
    points = torch.randn(60, 8, generator=draw) + 8 * torch.nn.functional.one_hot(groups, 8)
    plane = on_a_plane(points)
    nearest = torch.cdist(plane, plane).fill_diagonal_(float("inf")).argmin(1)
    assert float((groups[nearest] == groups).float().mean()) > 0.95
    torch.testing.assert_close(on_a_plane(points), plane)


def test_few_points_lie_by_their_principal_components() -> None:
    along = torch.tensor([[0.0, 0, 0], [3, 0, 0], [0, 1, 0], [3, 1, 0]])
    plane = on_a_plane(along)
    apart = torch.cdist(plane, plane)
    wanted = torch.cdist(along.double(), along.double())
    torch.testing.assert_close(apart / apart.max(), wanted / wanted.max())


@settings(max_examples=20, deadline=None)
@given(count=st.integers(1, 14), dimensions=st.integers(1, 3), seed=st.integers(0, 2**63 - 1))
def test_any_points_have_a_place(count: int, dimensions: int, seed: int) -> None:
    points = torch.randint(2, (count, dimensions), generator=torch.Generator().manual_seed(seed))
    plane = on_a_plane(points, seed)
    assert plane.shape == (count, 2)
    assert bool(plane.isfinite().all())
    assert float(plane.mean(0).abs().max()) == pytest.approx(0, abs=1e-4)
