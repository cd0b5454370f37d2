"""Grad-cos the straightforward way: one example at a time, by plain double backward."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel

Gradients = tuple[Tensor, ...]


class NaiveCos(nn.Module):
    """The cosine of parameter gradients, for Captum to differentiate.

    Args:
        model: in evaluation mode.
        cached: whether the gradient of a test image is kept for as long as the object lives.
    """

    def __init__(self, model: nn.Module, cached: bool) -> None:
        super().__init__()
        self.model, self.cached = model, cached
        self._known: Gradients | None = None

    def forward(
        self, train: Tensor, test: Tensor, test_labels: Tensor, train_labels: Tensor
    ) -> Tensor:
        """Scores ``[B]``."""
        rows = []
        for row in range(len(train)):
            one = slice(row, row + 1)
            gradient = gradients(self.model, train[one], train_labels[one], True)
            if self._known is None or not self.cached:
                self._known = gradients(self.model, test[one], test_labels[one], False)
            rows.append(cosine(gradient, self._known))
        return torch.stack(rows)


def gradients(model: nn.Module, image: Tensor, label: Tensor, graph: bool) -> Gradients:
    """The parameter gradients of one example."""
    with torch.enable_grad(), sdpa_kernel(SDPBackend.MATH):  # flash has no double backward
        loss = F.cross_entropy(model(image), label)
        return torch.autograd.grad(loss, list(model.parameters()), create_graph=graph)


def inner(one: Sequence[Tensor], other: Sequence[Tensor]) -> Tensor:
    """The inner product, layer by layer: one sum over all entries is less exact in float32."""
    return torch.stack([(a * b).sum() for a, b in zip(one, other, strict=True)]).sum()


def cosine(one: Sequence[Tensor], other: Sequence[Tensor]) -> Tensor:
    """The cosine of two gradients."""
    return inner(one, other) / (inner(one, one).sqrt() * inner(other, other).sqrt())
