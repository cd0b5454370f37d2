from __future__ import annotations

import math
from unittest.mock import patch

import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from captum_tfa.gradients import gram
from tests.oracle import assert_layer_exact


@given(
    leading=st.lists(st.integers(1, 3), max_size=3),
    features=st.tuples(st.integers(1, 5), st.integers(1, 5)),
    bias=st.booleans(),
    batch=st.integers(1, 4),
    margin=st.sampled_from([0, math.inf]),
)
@settings(deadline=None, max_examples=60)
def test_any_linear_layer_is_exact(
    leading: list[int], features: tuple[int, int], bias: bool, batch: int, margin: float
) -> None:
    with patch.object(gram, "_MARGIN", margin):  # never Gram matrices, or always
        assert_layer_exact(nn.Linear(*features, bias=bias), [*leading, features[0]], batch)


class ByName(nn.Linear):
    """Calls the function with named arguments, in an order of its own."""

    def forward(self, input: Tensor) -> Tensor:
        return F.linear(bias=self.bias, input=input, weight=self.weight)


def test_arguments_may_come_by_name() -> None:
    assert_layer_exact(ByName(4, 3), [2, 4], batch=2)


class WeightAsInput(nn.Linear):
    """Its weight is the activation, the image the weight."""

    def forward(self, input: Tensor) -> Tensor:
        return (input @ F.linear(self.weight, self.weight)).tanh()


def test_a_parameter_may_be_the_activation() -> None:
    assert_layer_exact(WeightAsInput(4, 4), [2, 4], batch=2)
