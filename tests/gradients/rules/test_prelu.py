from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from captum_tfa import GradCosScore
from tests.oracle import assert_layer_exact, classifier


@given(
    channels=st.integers(1, 4),
    size=st.lists(st.integers(2, 3), max_size=3),
    one=st.booleans(),
    batch=st.integers(1, 3),
)
@settings(deadline=None, max_examples=25)
def test_any_prelu_is_exact(channels: int, size: list[int], one: bool, batch: int) -> None:
    assert_layer_exact(nn.PReLU(1 if one else channels), [channels, *size], batch)


@pytest.mark.parametrize("slope", [-0.5, 0.0])
def test_slopes_that_are_not_positive_are_exact(slope: float) -> None:
    """What is below zero must not be found from the output."""
    layer = nn.Sequential(nn.Conv2d(2, 3, 2), nn.PReLU(3))
    with torch.no_grad():
        layer[1].weight.copy_(torch.tensor([slope, 0.2, slope]))
    assert_layer_exact(layer, [2, 4, 4], 3)


class Functional(nn.Module):
    def __init__(self, function: Callable[..., Tensor], shape: tuple[int, ...]) -> None:
        super().__init__()
        self.weight, self.function = nn.Parameter(torch.full(shape, 0.3)), function

    def forward(self, input: Tensor) -> Tensor:
        return self.function(input, self.weight)


@pytest.mark.parametrize("function", [F.prelu, torch.prelu, Tensor.prelu])
@pytest.mark.parametrize("shape", [(), (1,), (3,)])
def test_functions_are_recorded_and_serve_all_examples_at_once(
    function: Callable[..., Tensor], shape: tuple[int, ...]
) -> None:
    layer = Functional(function, shape)
    assert_layer_exact(layer, [3, 4], 3)
    score = GradCosScore(classifier(layer, [3, 4]))
    images = torch.randn(3, 3, 4).double()
    score(images, images[:1], 1, 0)
    assert score._gradients.room.one_at_a_time is False


class OfNumbers(nn.Module):
    """A regression whose outputs, ``[B]``, go through the function."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.slope = nn.Linear(3, 1), nn.PReLU()
        self.out = nn.Linear(1, 5)

    def forward(self, input: Tensor) -> Tensor:
        return self.out(self.slope(self.first(input).squeeze(1))[:, None])


def test_outputs_without_channels_are_left_to_autograd() -> None:
    assert_layer_exact(OfNumbers(), [3], 3)
