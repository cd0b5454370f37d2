from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from captum_tfa.gradients.rewrites.max_pool import max_pool2d
from tests.oracle import assert_layer_exact


def pairs(lowest: int, highest: int) -> st.SearchStrategy[int | tuple[int, int]]:
    numbers = st.integers(lowest, highest)
    return numbers | st.tuples(numbers, numbers)


@given(
    kernel=pairs(2, 3),
    stride=st.none() | pairs(1, 3),
    padding=pairs(0, 1),
    dilation=pairs(1, 2),
    ceil_mode=st.booleans(),
    shape=st.tuples(*(st.integers(1, 3),) * 2, *(st.integers(5, 9),) * 2),
    channels_last=st.booleans(),
)
@settings(deadline=None, max_examples=60)
def test_equals_torchs_function_with_both_derivatives(
    kernel: int | tuple[int, int],
    stride: int | tuple[int, int] | None,
    padding: int | tuple[int, int],
    dilation: int | tuple[int, int],
    ceil_mode: bool,
    shape: tuple[int, int, int, int],
    channels_last: bool,
) -> None:
    image = torch.randn(shape, dtype=torch.float64)
    if channels_last:
        image = image.contiguous(memory_format=torch.channels_last)
    image.requires_grad_()
    arguments = (image, kernel, stride, padding, dilation, ceil_mode)
    found = []
    for pool in (max_pool2d, F.max_pool2d):
        pooled = pool(*arguments)
        torch.manual_seed(1)
        weights = torch.randn(pooled.shape, dtype=torch.float64, requires_grad=True)
        (first,) = torch.autograd.grad((pooled * weights).sum(), image, create_graph=True)
        (second,) = torch.autograd.grad((first**3).sum(), weights)
        found.append((pooled, first, second))
    for ours, torchs in zip(*found, strict=True):
        torch.testing.assert_close(ours, torchs, rtol=0, atol=0)


def test_a_single_image_and_a_kernel_that_is_too_large_are_left_to_torch() -> None:
    image = torch.randn(3, 6, 6)
    assert torch.equal(max_pool2d(image, 2), F.max_pool2d(image, 2))
    with pytest.raises(RuntimeError, match="Output size is too small"):
        max_pool2d(torch.randn(1, 1, 4, 4), 9)


@pytest.mark.parametrize("settings", [{}, {"stride": 1, "padding": 1, "ceil_mode": True}])
def test_map_through_it_is_exact(settings: dict[str, int]) -> None:
    layer = nn.Sequential(nn.Conv2d(2, 3, 2), nn.Tanh(), nn.MaxPool2d(2, **settings))
    assert_layer_exact(layer, [2, 6, 6], batch=3)
