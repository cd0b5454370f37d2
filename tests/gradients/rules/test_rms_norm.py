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
    leading=st.lists(st.integers(2, 3), max_size=3),
    normalized=st.lists(st.integers(3, 4), min_size=1, max_size=2),
    affine=st.booleans(),
    eps=st.sampled_from([None, 0.1]),
    batch=st.integers(1, 3),
)
@settings(deadline=None, max_examples=25)
def test_any_rms_norm_is_exact(
    leading: list[int], normalized: list[int], affine: bool, eps: float | None, batch: int
) -> None:
    layer = nn.Sequential(nn.Tanh(), nn.RMSNorm(normalized, eps=eps, elementwise_affine=affine))
    assert_layer_exact(layer, [*leading, *normalized], batch)


class Functional(nn.Module):
    def __init__(self, function: Callable[..., Tensor]) -> None:
        super().__init__()
        self.weight, self.function = nn.Parameter(torch.randn(4)), function

    def forward(self, input: Tensor) -> Tensor:
        return self.function(input, (4,), weight=self.weight, eps=0.1)


@pytest.mark.parametrize("function", [F.rms_norm, torch.rms_norm])
def test_functions_are_recorded_and_serve_all_examples_at_once(
    function: Callable[..., Tensor],
) -> None:
    layer = Functional(function)
    assert_layer_exact(layer, [3, 4], 3)
    score = GradCosScore(classifier(layer, [3, 4]))
    images = torch.randn(3, 3, 4).double()
    score(images, images[:1], 1, 0)
    assert score._gradients.room.one_at_a_time is False
