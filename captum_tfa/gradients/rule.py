"""What a layer type must tell: how a parameter's gradient follows from activations and deltas."""

from __future__ import annotations

from abc import ABC, abstractmethod
from functools import cached_property
from typing import NamedTuple

import torch
from torch import Tensor


class Rule(ABC):
    """How one parameter's gradient follows from an activation and a delta.

    Every tensor that a rule is given has the example first: ``[B, r, ...]``, where ``r`` counts
    the positions that the function's leading dimensions hold for one example (tokens of a
    linear layer; 1 for most convolutions).
    """

    #: How many leading dimensions of the function's output enumerate positions; the rest is
    #: what one position holds. Negative values count from the end, as in slicing.
    leading: int = 1

    def positions(self, shape: torch.Size) -> int:
        """How many leading dimensions of an output of this shape enumerate positions."""
        return self.leading if self.leading >= 0 else len(shape) + self.leading

    @abstractmethod
    def gradient(self, inputs: tuple[Tensor, ...], delta: Tensor) -> Tensor:
        """The gradient of each example, ``[B, *parameter.shape]``."""

    def products(
        self,
        inputs: tuple[Tensor, ...],
        delta: Tensor,
        tests: StoredTerm | None,
        rows: Tensor | None,
    ) -> Products:
        """Inner products with test gradients, and squared norms.

        Args:
            inputs: the recorded activations, each ``[B, r, ...]``.
            delta: the gradient of the loss at the output, ``[B, r, ...]``.
            tests: this parameter's gradients of ``M`` test examples; ``None`` if they have none.
            rows: for each example the test gradient it is paired with, ``[B]``; ``None``
                pairs every example with every test gradient.
        """
        return products_of(self.gradient(inputs, delta), tests, rows)

    def stored(self, inputs: tuple[Tensor, ...], delta: Tensor) -> StoredTerm:
        """The gradients as constants, as they are or as their factors."""
        return StoredTerm(self, tuple(tensor.detach() for tensor in inputs), delta.detach())


class Products(NamedTuple):
    """What a score needs of the gradients of ``B`` examples.

    Attributes:
        inner: inner products with test gradients, ``[B]`` or ``[B, M]``; ``None`` for zeros.
        squares: ``‖g‖²``, ``[B]``.
    """

    inner: Tensor | None
    squares: Tensor


class StoredTerm:
    """One parameter's part of the gradients of ``M`` examples, kept as it is or as its factors.

    Args:
        rule: how the gradient follows from the factors; ``None`` if it is given as it is.
        inputs: the factors' activations, each ``[M, r, ...]``.
        delta: the factors' deltas ``[M, r, ...]``, or without a rule the gradient itself,
            ``[M, *parameter.shape]``.
    """

    def __init__(self, rule: Rule | None, inputs: tuple[Tensor, ...], delta: Tensor) -> None:
        self.rule, self.inputs, self.delta = rule, inputs, delta

    def __len__(self) -> int:
        return len(self.delta)

    @cached_property
    def dense(self) -> Tensor:
        """The gradient itself, ``[M, *parameter.shape]``."""
        with torch.no_grad():
            return self.delta if self.rule is None else self.rule.gradient(self.inputs, self.delta)

    @property
    def squares(self) -> Tensor:
        """``‖g‖²`` of each example, ``[M]``."""
        if self.rule is None:
            return _squares(self.delta)
        return self.rule.products(self.inputs, self.delta, None, None).squares

    def select(self, rows: Tensor) -> StoredTerm:
        """The gradients of some of the examples, or of some more than once."""
        inputs = tuple(tensor[rows] for tensor in self.inputs)
        return StoredTerm(self.rule, inputs, self.delta[rows])


def products_of(gradient: Tensor, tests: StoredTerm | None, rows: Tensor | None) -> Products:
    """`Rule.products` from gradients that are at hand, ``[B, *parameter.shape]``."""
    flat = gradient.reshape(len(gradient), -1)
    squares = _squares(gradient)
    if tests is None:
        return Products(None, squares)
    against = tests.dense.reshape(len(tests), -1)
    if rows is None:
        return Products(flat @ against.T, squares)
    if len(tests) == 1:
        return Products(flat @ against[0], squares)
    return Products((flat * against[rows]).sum(1), squares)


def _squares(gradient: Tensor) -> Tensor:
    """``‖g‖²`` of each example, ``[B]``.

    Row by row of the parameter: a norm makes no second tensor of the gradient's size, but one over
    millions of numbers would lose digits of float32.
    """
    rows = gradient.reshape(len(gradient), *gradient.shape[1:2], -1)
    norms: Tensor = torch.linalg.vector_norm(rows, dim=-1)
    return norms.square().view(len(gradient), -1).sum(1)
