from __future__ import annotations

import operator
from collections.abc import Callable

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from tests.oracle import assert_layer_exact

SHAPES = [(1,), (4,), (3, 1), (3, 4), (1, 4), (2, 1, 1), (2, 3, 4), (1, 3, 4), (1, 2, 3, 4)]
OPERATIONS: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "+": operator.add,
    "*": operator.mul,
    "-": operator.sub,
    "torch.add": torch.add,
    "torch.mul": torch.mul,
    ".add": lambda left, right: left.add(right),
    ".mul": lambda left, right: left.mul(right),
    "scaled add": lambda left, right: torch.add(left, right, alpha=2),
}


class Elementwise(nn.Module):
    """A raw parameter and an image ``[B, 2, 3, 4]`` in an operation, in either order."""

    def __init__(
        self, shape: tuple[int, ...], operation: Callable[..., Tensor], parameter_first: bool
    ) -> None:
        super().__init__()
        self.parameter = nn.Parameter(torch.randn(shape))
        self.operation, self.parameter_first = operation, parameter_first

    def forward(self, input: Tensor) -> Tensor:
        input = input.sigmoid()
        if self.parameter_first:
            return self.operation(self.parameter, input)
        return self.operation(input, self.parameter)


@given(
    shape=st.sampled_from(SHAPES),
    operation=st.sampled_from(sorted(OPERATIONS)),
    parameter_first=st.booleans(),
    batch=st.integers(1, 4),
)
@settings(deadline=None, max_examples=40)
def test_any_broadcast_parameter_is_exact(
    shape: tuple[int, ...], operation: str, parameter_first: bool, batch: int
) -> None:
    layer = Elementwise(shape, OPERATIONS[operation], parameter_first)
    assert_layer_exact(layer, [2, 3, 4], batch)


@pytest.mark.parametrize("operation", OPERATIONS)
def test_a_parameter_without_dimensions_is_exact(operation: str) -> None:
    assert_layer_exact(Elementwise((), OPERATIONS[operation], False), [2, 3, 4], batch=3)


class Spread(nn.Module):
    """A parameter that is larger than the image's own dimensions and spreads it."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.randn(3, 4))

    def forward(self, input: Tensor) -> Tensor:
        return input.unsqueeze(1) * self.scale


def test_a_parameter_that_spreads_the_image_is_exact() -> None:
    assert_layer_exact(Spread(), [4], batch=3)


class Prompt(nn.Module):
    """Learned tokens before the image's own, repeated in one of several ways."""

    def __init__(self, way: str) -> None:
        super().__init__()
        self.tokens = nn.Parameter(torch.randn(1, 2, 4))
        self.way = way

    def forward(self, input: Tensor) -> Tensor:
        batch = len(input)
        repeated = {
            "expand": lambda: self.tokens.expand(batch, -1, -1),
            "expand of a size": lambda: self.tokens.expand(torch.Size([batch, 2, 4])),
            "expand_as": lambda: self.tokens.expand_as(input[:, :2]),
            "expand from fewer dimensions": lambda: self.tokens[0].expand(batch, 2, 4),
            "repeat": lambda: self.tokens.repeat(batch, 1, 1),
            "broadcast_to": lambda: torch.broadcast_to(self.tokens, (batch, 2, 4)),
        }[self.way]()
        mixed = torch.cat([repeated, input], 1).softmax(1)
        return mixed[:, :2] * mixed[:, 2:4]


@pytest.mark.parametrize(
    "way",
    [
        "expand",
        "expand of a size",
        "expand_as",
        "expand from fewer dimensions",
        "repeat",
        "broadcast_to",
    ],
)
@pytest.mark.parametrize("batch", [1, 2, 3])
def test_repeated_tokens_are_exact(way: str, batch: int) -> None:
    assert_layer_exact(Prompt(way), [2, 4], batch)
