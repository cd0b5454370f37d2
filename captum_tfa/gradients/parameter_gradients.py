"""Inner products and norms of the parameter gradients of single examples.

One batched forward pass records where parameters were used (`ParameterUses`), one backward pass
takes the deltas there, and each layer type's rule turns activations and deltas into what a score
needs: ``⟨g_i, v⟩`` and ``‖g_i‖²`` for every example ``i``. All of it can be differentiated with
respect to the input of that same forward pass, which is what a map is. No gradient of the whole
batch and, layer by layer, no more than one layer's gradients are ever held.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

import captum_tfa.gradients.rules  # noqa: F401  registers the layer types
from captum_tfa.gradients.hookless import hookless
from captum_tfa.gradients.modes import differentiating
from captum_tfa.gradients.terms import Term, TermCollector, whole
from captum_tfa.gradients.uses import ParameterUses, Use, products_of

Gradients = Mapping[str, Tensor]
"""Gradients of M examples by parameter name, each ``[M, *parameter.shape]``."""

Loss = Callable[[Any, Tensor | None], Tensor]
"""From the model's output and the labels to the loss of each example, ``[B]``."""


class ParameterGradients:
    """The parameter gradients of single examples of a model under a loss.

    Args:
        model: the user's module.
        loss: from the module's output and the labels to losses ``[B]``.
        choose: gives the parameters that count, by name, as they are now.
    """

    def __init__(
        self, model: nn.Module, loss: Loss, choose: Callable[[], Mapping[str, nn.Parameter]]
    ) -> None:
        self.model, self.loss, self.choose = model, loss, choose
        self._collector = TermCollector()
        #: Memory that one differentiable example takes; unknown, and so huge, before the first.
        self.bytes_per_example = 2**62

    def of(self, inputs: Sequence[Tensor], target: Tensor | None) -> dict[str, Tensor]:
        """The gradients themselves, one example after the other and without a graph.

        Args:
            inputs: the model's input tensors, each ``[M, ...]``.
            target: labels ``[M, ...]``, or ``None`` for the loss's own choice.

        Returns:
            For each chosen parameter ``[M, *shape]``.
        """
        model, chosen = hookless(self.model), self.choose()
        rows: dict[str, list[Tensor]] = {name: [] for name in chosen}
        for row in range(len(inputs[0])):
            one = [tensor[row : row + 1] for tensor in inputs]
            label = None if target is None else target[row : row + 1]
            with differentiating(one[0].device):
                losses = self.loss(model(*one), label)
                gradients = torch.autograd.grad(
                    losses.sum(), list(chosen.values()), allow_unused=True
                )
            for (name, parameter), gradient in zip(chosen.items(), gradients, strict=True):
                rows[name].append(torch.zeros_like(parameter) if gradient is None else gradient)
        return {name: torch.stack(gradients) for name, gradients in rows.items()}

    def products(
        self,
        inputs: Sequence[Tensor],
        target: Tensor | None,
        tests: Gradients,
        rows: Tensor | None,
        differentiable: bool,
    ) -> tuple[Tensor, Tensor]:
        """Inner products of examples' gradients with test gradients, and squared norms.

        Args:
            inputs: the model's input tensors, each ``[B, ...]``.
            target: labels ``[B, ...]``, or ``None`` for the loss's own choice.
            tests: test gradients, constants.
            rows: which test gradient each example is paired with, ``[B]``; ``None`` pairs every
                example with every test gradient.
            differentiable: keep a graph, so that the results can be differentiated with respect
                to ``inputs`` and to activations of this forward pass.

        Returns:
            Inner products, ``[B]`` (``[B, M]`` when ``rows`` is ``None``), and ``‖g‖²``, ``[B]``.
        """
        return self._products(self.model, inputs, target, tests, rows, differentiable)

    def rank_products(
        self, inputs: Sequence[Tensor], target: Tensor | None, tests: Gradients
    ) -> tuple[Tensor, Tensor]:
        """`products` of every example with every test gradient, without graph and hooks."""
        return self._products(hookless(self.model), inputs, target, tests, None, False)

    def _products(
        self,
        model: nn.Module,
        inputs: Sequence[Tensor],
        target: Tensor | None,
        tests: Gradients,
        rows: Tensor | None,
        differentiable: bool,
    ) -> tuple[Tensor, Tensor]:
        chosen, parameters = self.choose(), list(self.model.parameters())
        with differentiating(inputs[0].device):
            with ParameterUses(chosen, parameters) as record:
                losses = self.loss(model(*inputs), target)
            if len(losses) != len(inputs[0]):
                raise ValueError(
                    f"The model made {len(losses)} outputs of {len(inputs[0])} examples; its "
                    "output's first dimension must count examples, as the input's does. "
                    "output_fn can rearrange it."
                )
            # Once more every chosen parameter, for what it does outside the recorded functions.
            uses = record.uses + [whole(name, parameter) for name, parameter in chosen.items()]
            terms = self._collector.terms(uses, losses, differentiable)
            self.bytes_per_example = _bytes_per_example(record.uses, terms, len(losses))
        with torch.set_grad_enabled(differentiable):
            products = [
                _products_of_parameter(parts, tests[name], rows) for name, parts in terms.items()
            ]
            inner, squares = zip(*products, strict=True)
            return torch.stack(inner).sum(0), torch.stack(squares).sum(0)


def _products_of_parameter(
    terms: Sequence[Term], tests: Tensor, rows: Tensor | None
) -> tuple[Tensor, Tensor]:
    """One parameter's share of the inner products and squared norms."""
    if len(terms) == 1:
        return terms[0].products(tests, rows)
    # Used in several places: the norm of a sum needs the sum itself.
    total = terms[0].gradient()
    for term in terms[1:]:
        total = total + term.gradient()
    return products_of(total, tests, rows)


def _bytes_per_example(uses: Sequence[Use], terms: Mapping[str, Sequence[Term]], batch: int) -> int:
    """About what the graph of one example takes: activations, deltas, and their adjoints."""
    if any(not term.separable for parts in terms.values() for term in parts):
        return 2**62  # a batch of such a model costs a backward pass for each example
    tensors = [tensor for use in uses for tensor in use.inputs]
    size = sum(tensor.numel() * tensor.element_size() for tensor in tensors)
    return 1 + 6 * size // batch
