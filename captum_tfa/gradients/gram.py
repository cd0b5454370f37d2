"""Products of weight gradients without the gradients: by Gram matrices of their factors.

The gradient of a linear map is ``g = Σ_t δ_t a_tᵀ`` over ``T`` positions. Where positions are few
and weights are many (late convolutions, token-wise layers), it is cheaper never to form it:

    ⟨g, g'⟩ = Σ_ts (a_t · a'_s) (δ_t · δ'_s).
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from captum_tfa.gradients.modes import without_autocast
from captum_tfa.gradients.rule import Products, Rule, StoredTerm

# What Gram matrices must save to be chosen: their factors have to be laid out first.
_MARGIN = 0.7
# About how many multiplications pass in the time that it takes to start the operations of one
# inner product of a batch.
_START = 2**17
# About how many multiplications pass in the time that it takes to write down a number of a
# gradient and read it for its norm and its products.
_FORMED = 16


class Gram(ABC):
    """A way to the Gram matrices ``a_t · a'_s`` of a layer's activations."""

    @abstractmethod
    def cost(self, input: Tensor, other: Tensor, pairs: int) -> int:
        """Multiplications for two examples, in one group.

        Args:
            input: the recorded activation of the one, ``[B, r, ...]``.
            other: that of the other.
            pairs: ``T · T'``.
        """

    @abstractmethod
    def laid_out(self, input: Tensor) -> Tensor:
        """What the products are made of, from a recorded activation ``[B, r, ...]``."""

    @abstractmethod
    def products(self, laid_out: Tensor, other: Tensor) -> Tensor:
        """``[B, groups, T, T']``; the other is ``[B, ...]`` or ``[1, ...]``."""

    @abstractmethod
    def adjoint(self, delta: Tensor, other: Tensor, shape: torch.Size) -> Tensor:
        """From the gradient of the products to that of ``laid_out``, which has this shape."""


class GramRule(Rule):
    """A rule for the weight of a linear map, in one or several groups."""

    @abstractmethod
    def sizes(self, inputs: tuple[Tensor, ...], delta: Tensor) -> tuple[int, int, int] | None:
        """Positions ``T``, inputs ``K`` and outputs ``O`` of one group; ``None`` rules Gram out."""

    @abstractmethod
    def activations(self, input: Tensor) -> Tensor:
        """Activations ``[B, groups, T, K]`` from ``[B, r, ...]``."""

    @abstractmethod
    def deltas(self, delta: Tensor) -> Tensor:
        """Deltas ``[B, groups, T, O]`` from ``[B, r, ...]``."""

    @abstractmethod
    def applied(self, input: Tensor, weight: Tensor) -> Tensor:
        """What the map makes of ``[B, r, ...]`` with a weight ``V``: times δ, it is ``⟨g, V⟩``."""

    def grams(
        self, inputs: tuple[Tensor, ...], delta: Tensor, tests: StoredTerm | None
    ) -> list[Gram]:
        """The ways to the Gram matrices of these activations and of those with the tests'."""
        sizes = self.sizes(inputs, delta)
        return [] if sizes is None else [_PlainGram(self.activations, sizes[1])]

    def products(
        self,
        inputs: tuple[Tensor, ...],
        delta: Tensor,
        tests: StoredTerm | None,
        rows: Tensor | None,
    ) -> Products:
        """As `Rule.products`, by the cheapest way."""
        if tests is not None and tests.rule is None:
            return self._products_without_factors(inputs, delta, tests, rows)
        gram = self._gram(inputs, delta, tests, rows)
        if gram is None:
            return super().products(inputs, delta, tests, rows)
        activations, deltas = gram.laid_out(inputs[0]), self.deltas(delta)
        squares: Tensor = _Squares.apply(activations, deltas, gram)
        if tests is None:
            return Products(None, squares)
        test_activations, test_deltas = gram.laid_out(tests.inputs[0]), self.deltas(tests.delta)
        if rows is None:
            pairs = zip(test_activations.split(1), test_deltas.split(1), strict=True)
            inner = [_Inner.apply(activations, deltas, *pair, gram) for pair in pairs]
            return Products(torch.stack(inner, 1), squares)
        if len(tests) > 1:
            test_activations, test_deltas = test_activations[rows], test_deltas[rows]
        return Products(
            _Inner.apply(activations, deltas, test_activations, test_deltas, gram), squares
        )

    def _products_without_factors(
        self,
        inputs: tuple[Tensor, ...],
        delta: Tensor,
        tests: StoredTerm,
        rows: Tensor | None,
    ) -> Products:
        """With vectors that are no gradients of single examples, as under curvature."""
        gram, sizes = self._gram(inputs, delta, None, None), self.sizes(inputs, delta)
        of_pairs = rows is not None and len(tests) > 1
        # Each vector takes T K O multiplications, and no example's gradient is formed.
        saved = sizes is not None and (len(tests) - 1) * (sizes[0] - 1) < _FORMED
        if gram is None or of_pairs or not saved:
            return super().products(inputs, delta, tests, rows)
        squares: Tensor = _Squares.apply(gram.laid_out(inputs[0]), self.deltas(delta), gram)
        inner = [
            (delta * self.applied(inputs[0], vector)).flatten(1).sum(1) for vector in tests.delta
        ]
        return Products(inner[0] if rows is not None else torch.stack(inner, 1), squares)

    def stored(self, inputs: tuple[Tensor, ...], delta: Tensor) -> StoredTerm:
        """As `Rule.stored`: as they are, where the norms need them so anyway."""
        if self._gram(inputs, delta, None, None) is None:
            return StoredTerm(None, (), self.gradient(inputs, delta).detach())
        return super().stored(inputs, delta)

    def _gram(
        self,
        inputs: tuple[Tensor, ...],
        delta: Tensor,
        tests: StoredTerm | None,
        rows: Tensor | None,
    ) -> Gram | None:
        """The cheapest way, if it takes less time than ``T K O + M K O`` multiplications."""
        sizes = self.sizes(inputs, delta)
        if sizes is None:
            return None
        positions, entries, outputs = sizes
        others = 0 if tests is None else len(tests) if rows is None else 1
        start = _START // len(delta)

        def cost(gram: Gram) -> int:
            own = gram.cost(inputs[0], inputs[0], positions**2) + positions**2 * outputs
            if tests is None:
                return start + own
            # A test example has as many positions, but for images of another size.
            pairs = positions * (tests.delta[0].numel() * positions // delta[0].numel())
            other = gram.cost(inputs[0], tests.inputs[0], pairs) + pairs * outputs
            return start + own + others * (start + other)

        best = min(self.grams(inputs, delta, tests), key=cost)
        dense = (positions + others) * entries * outputs
        return best if cost(best) < _MARGIN * dense else None


class _PlainGram(Gram):
    """Products of the activations as they are, ``K`` numbers each."""

    def __init__(self, activations: Callable[[Tensor], Tensor], entries: int) -> None:
        self.activations, self.entries = activations, entries

    def cost(self, input: Tensor, other: Tensor, pairs: int) -> int:
        return pairs * self.entries

    def laid_out(self, input: Tensor) -> Tensor:
        return self.activations(input)

    def products(self, laid_out: Tensor, other: Tensor) -> Tensor:
        return laid_out @ other.mT

    def adjoint(self, delta: Tensor, other: Tensor, shape: torch.Size) -> Tensor:
        return delta @ other


class _Inner(torch.autograd.Function):
    """``⟨g, g'⟩`` from the factors of both, of which the other's are constant."""

    @staticmethod
    def forward(
        ctx: Any,
        activations: Tensor,
        deltas: Tensor,
        others: Tensor,
        others_deltas: Tensor,
        gram: Gram,
    ) -> Tensor:
        of_activations = gram.products(activations, others)
        of_deltas = deltas @ others_deltas.mT
        ctx.gram, ctx.shape = gram, activations.shape
        ctx.save_for_backward(others, others_deltas, of_activations, of_deltas)
        return (of_activations * of_deltas).flatten(1).sum(1)

    @staticmethod
    @without_autocast
    def backward(ctx: Any, adjoint: Tensor) -> tuple[Tensor | None, ...]:
        if not bool(adjoint.any()):  # a map for another one of several test examples
            return (None,) * 5
        others, others_deltas, of_activations, of_deltas = ctx.saved_tensors
        scale = adjoint.view(-1, 1, 1, 1)
        to_activations = ctx.gram.adjoint(scale * of_deltas, others, ctx.shape)
        return to_activations, scale * (of_activations @ others_deltas), None, None, None


class _Squares(torch.autograd.Function):
    """``‖g‖²`` from its factors. Gram matrices are symmetric, so each adjoint is one product."""

    @staticmethod
    def forward(ctx: Any, activations: Tensor, deltas: Tensor, gram: Gram) -> Tensor:
        of_activations = gram.products(activations, activations)
        of_deltas = deltas @ deltas.mT
        ctx.gram, ctx.shape = gram, activations.shape
        ctx.save_for_backward(activations, deltas, of_activations, of_deltas)
        return (of_activations * of_deltas).flatten(1).sum(1)

    @staticmethod
    @without_autocast
    def backward(ctx: Any, adjoint: Tensor) -> tuple[Tensor, Tensor, None]:
        activations, deltas, of_activations, of_deltas = ctx.saved_tensors
        scale = 2 * adjoint.view(-1, 1, 1, 1)
        to_activations = ctx.gram.adjoint(scale * of_deltas, activations, ctx.shape)
        return to_activations, scale * (of_activations @ deltas), None
