"""The matrix ``G [n, P]`` of ``n`` gradients as a linear map: kept, or computed when it is needed.

Without ``G`` itself ``G v`` is one pass over the examples, their gradients' products with ``v``,
and ``Gᵀ α`` one backward pass of the weighted loss ``Σ α_i L_i``: ``n P`` numbers are never held.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence

import torch
from torch import Tensor, nn

from captum_tfa.curvature.flat import by_parameter, flattened
from captum_tfa.gradients import GradientEngine, Gradients, StoredGradients
from captum_tfa.gradients.losses import ExampleLosses
from captum_tfa.gradients.modes import differentiating
from captum_tfa.gradients.plain_pass import plain_pass
from captum_tfa.gradients.rule import StoredTerm

# Examples whose gradients are at hand at once.
_MOST_EXAMPLES = 64


class GradientMatrix(ABC):
    """``G``, one gradient a row."""

    @abstractmethod
    def times(self, vectors: dict[str, Tensor]) -> Tensor:
        """``G v`` for ``M`` vectors ``[M, *parameter.shape]`` by parameter: ``[n, M]``."""

    @abstractmethod
    def transposed(self, weights: Tensor, like: dict[str, Tensor]) -> dict[str, Tensor]:
        """``Gᵀ α`` for ``α [n, M]``: ``[M, *parameter.shape]`` by parameter, as in ``like``."""


class KeptGradients(GradientMatrix):
    """Gradients at hand.

    Args:
        matrix: ``[n, P]``.
    """

    def __init__(self, matrix: Tensor) -> None:
        self.matrix = matrix

    def times(self, vectors: dict[str, Tensor]) -> Tensor:
        """As `GradientMatrix.times`."""
        flat = flattened(vectors)
        return self.matrix.to(flat) @ flat.T

    def transposed(self, weights: Tensor, like: dict[str, Tensor]) -> dict[str, Tensor]:
        """As `GradientMatrix.transposed`."""
        return by_parameter(weights.T @ self.matrix.to(weights), like)


class PassedGradients(GradientMatrix):
    """Gradients that are computed again each time.

    Args:
        model: the model.
        losses: its loss.
        names: the parameters that count.
        inputs: the model's inputs, each ``[n, ...]``.
        labels: labels ``[n, ...]``.
    """

    def __init__(
        self,
        model: nn.Module,
        losses: ExampleLosses,
        names: Sequence[str],
        inputs: tuple[Tensor, ...],
        labels: Tensor,
    ) -> None:
        self.model, self.losses, self.names = model, losses, list(names)
        self.inputs, self.labels = inputs, labels
        self._engine = GradientEngine(model, losses, self.names)
        self._parameters = dict(model.named_parameters())

    def times(self, vectors: dict[str, Tensor]) -> Tensor:
        """As `GradientMatrix.times`."""
        like = self._parameters[self.names[0]]
        by_name = {name: StoredTerm(None, (), vector.to(like)) for name, vector in vectors.items()}
        tests = StoredGradients(by_name, like.new_zeros(len(vectors[self.names[0]])))
        parts = []
        for inputs, labels in self._batches(_MOST_EXAMPLES):
            parts.append(self._engine.apply(lambda each: _inner(each, tests), inputs, labels))
        return torch.cat(parts).to(vectors[self.names[0]])

    def transposed(self, weights: Tensor, like: dict[str, Tensor]) -> dict[str, Tensor]:
        """As `GradientMatrix.transposed`."""
        chosen = [self._parameters[name] for name in self.names]
        totals = {name: torch.zeros_like(vector) for name, vector in like.items()}
        size, start = self._engine.room.without_graph(self.inputs, _MOST_EXAMPLES), 0
        for inputs, labels in self._batches(size):
            with differentiating(labels.device):
                with plain_pass(self.model) as model:
                    losses = self.losses(model(*inputs), labels)
                some = weights[start : start + len(losses)].to(losses)
                for row, column in enumerate(some.unbind(1)):
                    gradients = torch.autograd.grad(
                        losses,
                        chosen,
                        column,
                        retain_graph=row + 1 < some.shape[1],
                        allow_unused=True,
                    )
                    for name, gradient in zip(self.names, gradients, strict=True):
                        if gradient is not None:
                            totals[name][row] += gradient.to(weights)
            start += len(losses)
        return totals

    def _batches(self, size: int) -> Iterator[tuple[tuple[Tensor, ...], Tensor]]:
        device = self._parameters[self.names[0]].device
        for start in range(0, len(self.labels), size):
            part = slice(start, start + size)
            yield tuple(each[part].to(device) for each in self.inputs), self.labels[part].to(device)


def _inner(gradients: Gradients, vectors: StoredGradients) -> Tensor:
    """``⟨g, v⟩`` of each gradient with each vector; zeros where they share no parameter."""
    inner, squares = gradients.products(vectors, None)
    return squares.new_zeros(len(squares), len(vectors.squares)) if inner is None else inner
