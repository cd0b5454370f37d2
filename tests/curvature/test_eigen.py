from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from captum_tfa.curvature.eigen import eigen


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 3), st.integers(1, 12), st.integers(0, 100), st.booleans())
def test_matrices_are_made_of_what_is_found(stack: int, size: int, seed: int, single: bool) -> None:
    draw = torch.Generator().manual_seed(seed)
    matrices = torch.randn(stack, size, size, generator=draw, dtype=torch.float64)
    matrices = (matrices + matrices.mT).to(torch.float32 if single else torch.float64)
    values, vectors = eigen(matrices.triu())  # nothing below the diagonal is read
    assert values.dtype == vectors.dtype == torch.float64
    torch.testing.assert_close(vectors @ torch.diag_embed(values) @ vectors.mT, matrices.double())
    identity = torch.eye(size, dtype=torch.float64).expand_as(vectors)
    torch.testing.assert_close(vectors.mT @ vectors, identity)
    assert bool((values.diff() >= 0).all())


def test_numbers_that_are_not_finite_are_refused() -> None:
    with pytest.raises(RuntimeError, match="not finite, so there is no curvature"):
        eigen(torch.tensor([[1.0, float("inf")], [0.0, 1.0]]))
