from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from captum_tfa.gradients.rule import StoredTerm, products_of


@given(st.lists(st.integers(1, 4), max_size=4), st.integers(1, 3), st.integers(1, 3))
@settings(deadline=None)
def test_products_are_those_of_flat_gradients(shape: list[int], batch: int, tests: int) -> None:
    gradient = torch.randn(batch, *shape, dtype=torch.float64)
    of_tests = torch.randn(tests, *shape, dtype=torch.float64)
    found = products_of(gradient, StoredTerm(None, (), of_tests), None)
    flat, flat_tests = gradient.reshape(batch, -1), of_tests.reshape(tests, -1)
    assert found.inner is not None
    torch.testing.assert_close(found.inner, flat @ flat_tests.T)
    torch.testing.assert_close(found.squares, (flat * flat).sum(1))


@pytest.mark.parametrize("shape", [(512, 512, 3, 3), (2**20,), (8, 2**16)])
def test_a_norm_of_millions_of_numbers_keeps_the_digits_of_float32(shape: tuple[int, ...]) -> None:
    gradient = torch.randn(2, *shape)
    exact = gradient.double().flatten(1).square().sum(1)
    torch.testing.assert_close(
        products_of(gradient, None, None).squares.double(), exact, rtol=1e-6, atol=0
    )


def test_the_norm_of_a_gradient_of_zero_has_a_derivative_of_zero() -> None:
    gradient = torch.zeros(2, 3, 4, requires_grad=True)
    (derivative,) = torch.autograd.grad(products_of(gradient, None, None).squares.sum(), gradient)
    assert torch.equal(derivative, torch.zeros(2, 3, 4))
