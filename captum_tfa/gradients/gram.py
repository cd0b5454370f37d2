"""Products of weight gradients without the gradients: by Gram matrices of their factors.

The gradient of a linear map is ``g = Σ_t δ_t a_tᵀ`` over ``T`` positions. Where positions are few
and weights are many (late convolutions, token-wise layers), it is cheaper never to form it:

    ⟨g, g'⟩ = Σ_ts (a_t · a'_s) (δ_t · δ'_s).
"""

from __future__ import annotations

from abc import abstractmethod
from typing import Any

import torch
from torch import Tensor

from captum_tfa.gradients.modes import without_autocast
from captum_tfa.gradients.rule import Products, Rule, TestGradient

# What a Gram matrix must save to be chosen: its factors have to be laid out first.
_MARGIN = 0.7


class GramRule(Rule):
    """A rule for the weight of a linear map, in one or several groups."""

    @abstractmethod
    def sizes(self, inputs: tuple[Tensor, ...], delta: Tensor) -> tuple[int, int, int] | None:
        """Positions ``T``, inputs ``K`` and outputs ``O`` of one group; ``None`` rules Gram out."""

    @abstractmethod
    def factors(self, inputs: tuple[Tensor, ...], delta: Tensor) -> tuple[Tensor, Tensor]:
        """Activations ``[B, groups, T, K]`` and deltas ``[B, groups, T, O]``."""

    def products(
        self,
        inputs: tuple[Tensor, ...],
        delta: Tensor,
        tests: TestGradient | None,
        rows: Tensor | None,
    ) -> Products:
        """As `Rule.products`, by the cheaper way."""
        if not self._gram_is_cheaper(inputs, delta, tests, rows):
            return super().products(inputs, delta, tests, rows)
        activations, deltas = self.factors(inputs, delta)
        squares: Tensor = _GramSquares.apply(activations, deltas)
        if tests is None:
            return Products(None, squares)
        test_activations, test_deltas = self.factors(tests.inputs, tests.delta)
        if rows is None:
            pairs = [
                _inner(activations, test_activations[[test]], deltas, test_deltas[[test]])
                for test in range(len(tests))
            ]
            return Products(torch.stack(pairs, 1), squares)
        if len(tests) > 1:
            test_activations, test_deltas = test_activations[rows], test_deltas[rows]
        return Products(_inner(activations, test_activations, deltas, test_deltas), squares)

    def _gram_is_cheaper(
        self,
        inputs: tuple[Tensor, ...],
        delta: Tensor,
        tests: TestGradient | None,
        rows: Tensor | None,
    ) -> bool:
        """Compare multiplications: ``T (T + Σ T') (K + O)`` against ``T K O + M K O``."""
        sizes = self.sizes(inputs, delta)
        if sizes is None or (tests is not None and tests.rule is None):
            return False  # one of them has no factors
        positions, entries, outputs = sizes
        pairs = others = 0
        if tests is not None:
            pairs = len(tests) if rows is None else 1
            # A test example has as many positions, but for images of another size.
            others = pairs * tests.delta.numel() * positions // (delta[0].numel() * len(tests))
        gram = positions * (positions + others) * (entries + outputs)
        return gram < _MARGIN * (positions + pairs) * entries * outputs


def _inner(
    activations: Tensor, other_activations: Tensor, deltas: Tensor, others: Tensor
) -> Tensor:
    """``⟨g, g'⟩`` from the factors of both."""
    products = (activations @ other_activations.mT) * (deltas @ others.mT)
    return products.flatten(1).sum(1)


class _GramSquares(torch.autograd.Function):
    """``‖g‖²`` from its factors. Gram matrices are symmetric, so each adjoint is one product."""

    @staticmethod
    def forward(ctx: Any, activations: Tensor, deltas: Tensor) -> Tensor:
        of_activations = activations @ activations.mT
        of_deltas = deltas @ deltas.mT
        ctx.save_for_backward(activations, deltas, of_activations, of_deltas)
        return (of_activations * of_deltas).flatten(1).sum(1)

    @staticmethod
    @without_autocast
    def backward(ctx: Any, adjoint: Tensor) -> tuple[Tensor, Tensor]:
        activations, deltas, of_activations, of_deltas = ctx.saved_tensors
        scale = 2 * adjoint.view(-1, 1, 1, 1)
        return scale * (of_deltas @ activations), scale * (of_activations @ deltas)
