"""Inner products and norms of the parameter gradients of single examples.

One batched forward pass records where parameters were used (`ParameterUses`), one backward pass
takes the deltas there, and each layer type's rule turns activations and deltas into what a score
needs: ``⟨g_i, v⟩`` and ``‖g_i‖²`` for every example ``i``. All of it can be differentiated with
respect to the input of that same forward pass, which is what a map is. No gradient of the whole
batch and, layer by layer, no more than one layer's gradients are ever held.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

import captum_tfa.gradients.rewrites
import captum_tfa.gradients.rules  # noqa: F401  registers the layer types
from captum_tfa.gradients.as_found import as_found
from captum_tfa.gradients.collector import TermCollector
from captum_tfa.gradients.hooks import hookless, in_the_place_of, without_graph_for_hooks
from captum_tfa.gradients.independence import RandomState, check_independence
from captum_tfa.gradients.kept import KeptTensors, refuse_older_passes, told_of_freed_graphs
from captum_tfa.gradients.locks import model_lock
from captum_tfa.gradients.memory import MOST_TESTS_AT_ONCE, Room
from captum_tfa.gradients.modes import differentiating, no_saved_tensors_hooks
from captum_tfa.gradients.module_outputs import of_their_own
from captum_tfa.gradients.pass_each import tell_once
from captum_tfa.gradients.rule import Products
from captum_tfa.gradients.selection import ParameterChoice, choose
from captum_tfa.gradients.stored import StoredGradients
from captum_tfa.gradients.terms import Term, whole
from captum_tfa.gradients.uses import ParameterUses

Loss = Callable[[Any, Tensor | None], Tensor]
"""From the model's output and the labels to the loss of each example, ``[B]``."""


@dataclass(frozen=True)
class Gradients:
    """The parameter gradients of ``B`` examples, of a forward pass that is still at hand.

    Attributes:
        values: their losses, ``[B]``.
        terms: what each parameter's gradient is the sum of, by name.
    """

    values: Tensor
    terms: Mapping[str, Term]

    def products(self, tests: StoredGradients | None, rows: Tensor | None) -> Products:
        """Inner products with stored gradients, and squared norms.

        Args:
            tests: gradients of ``M`` examples, constants; ``None`` for the norms alone.
            rows: which of them each example is paired with, ``[B]``; ``None`` pairs every example
                with every one of them.
        """
        parts = self.products_by_parameter(tests, rows).values()
        squares = torch.stack([part.squares for part in parts]).sum(0)
        inner = [part.inner for part in parts if part.inner is not None]
        return Products(torch.stack(inner).sum(0) if inner else None, squares)

    def products_by_parameter(
        self, tests: StoredGradients | None, rows: Tensor | None
    ) -> dict[str, Products]:
        """What each parameter adds to `products`, by name."""
        by_name = {} if tests is None else tests.by_name
        return {name: term.products(by_name.get(name), rows) for name, term in self.terms.items()}

    def dense(self) -> dict[str, Tensor]:
        """The gradients themselves, ``[B, *parameter.shape]`` by name: ``B`` times the model."""
        return {name: term.gradient() for name, term in self.terms.items()}

    def stored(self) -> StoredGradients:
        """The same as constants, as they are or as their factors, whichever is less."""
        with torch.no_grad():
            by_name = {name: term.stored() for name, term in self.terms.items()}
            squares = torch.stack([each.squares for each in by_name.values()]).sum(0)
        return StoredGradients(by_name, squares)


class GradientEngine:
    """The parameter gradients of single examples of a model under a loss.

    Args:
        model: the user's module.
        loss: from the module's output and the labels to losses ``[B]``.
        parameters: which parameters count; see `choose`.
    """

    def __init__(self, model: nn.Module, loss: Loss, parameters: ParameterChoice) -> None:
        self.model, self.loss, self.parameters = model, loss, parameters
        self._collector = TermCollector()
        #: How many examples a pass takes.
        self.room = Room()
        #: Parameters that cost a pass for each example, as the last batch of several has shown.
        self.pass_each: list[str] = []
        self._independent: set[tuple[bool, ...]] = set()

    def of_tests(self, inputs: Sequence[Tensor], target: Tensor | None) -> list[StoredGradients]:
        """The gradients of test examples, each by itself, without graph and hooks.

        Args:
            inputs: the model's input tensors, each ``[M, ...]``.
            target: labels ``[M, ...]``, or ``None`` for the loss's own choice.

        Returns:
            For each example its gradients, ``M = 1``.
        """
        model = hookless(self.model)
        found: list[StoredGradients] = []
        for images, labels in self._parts(inputs, target, MOST_TESTS_AT_ONCE):
            with differentiating(images[0].device):
                together = self._of(model, images, labels, False).stored()
            found += [together.select(row) for row in torch.arange(len(images[0])).split(1)]
        return found

    def apply(
        self,
        function: Callable[[Gradients], Tensor],
        inputs: Sequence[Tensor],
        target: Tensor | None,
        differentiable: bool = False,
        hooks: bool = False,
    ) -> Tensor:
        """What a function makes of the gradients of examples.

        Args:
            function: from the gradients of some of the examples to ``[b, ...]``.
            inputs: the model's input tensors, each ``[B, ...]``.
            target: labels ``[B, ...]``, or ``None`` for the loss's own choice.
            differentiable: keep a graph, so that the result can be differentiated with respect
                to ``inputs`` and to activations of this forward pass.
            hooks: let the user's hooks fire, for one pass of all examples; they do in any case
                for a pass that can be differentiated.

        Returns:
            ``[B, ...]``.
        """
        if differentiable:
            return self._applied(function, self.model, inputs, target, True)
        if hooks:
            model = without_graph_for_hooks(self.model)
            return self._applied(function, model, inputs, target, False)
        model = hookless(self.model)
        parts = [
            self._applied(function, model, images, labels, False)
            for images, labels in self._parts(inputs, target, len(inputs[0]))
        ]
        return parts[0] if len(parts) == 1 else torch.cat(parts)

    def terms(
        self, inputs: Sequence[Tensor], target: Tensor | None
    ) -> Iterator[Mapping[str, Term]]:
        """The gradients of examples as terms, by parameter, without graph and hooks.

        Args:
            inputs: the model's input tensors, each ``[B, ...]``.
            target: labels ``[B, ...]``, or ``None`` for the loss's own choice.

        Yields:
            The terms of one part of the examples after the other, in their order.
        """
        model = hookless(self.model)
        for images, labels in self._parts(inputs, target, len(inputs[0])):
            with differentiating(images[0].device):
                terms = self._of(model, images, labels, False).terms
            yield terms

    def _parts(
        self, inputs: Sequence[Tensor], target: Tensor | None, most: int
    ) -> Iterator[tuple[list[Tensor], Tensor | None]]:
        """The examples of a pass without a graph, one pass after the other."""
        for part in self.room.parts(inputs, most):
            yield [tensor[part] for tensor in inputs], None if target is None else target[part]

    def _applied(
        self,
        function: Callable[[Gradients], Tensor],
        model: nn.Module,
        inputs: Sequence[Tensor],
        target: Tensor | None,
        differentiable: bool,
    ) -> Tensor:
        with differentiating(inputs[0].device):
            gradients = self._of(model, inputs, target, differentiable)
            with torch.set_grad_enabled(differentiable):
                return function(gradients)

    @contextmanager
    def _pass_of(self, model: nn.Module) -> Iterator[None]:
        """A forward pass of the model or a twin of it."""
        watched = of_their_own if model is self.model else in_the_place_of
        with as_found(model), watched(self.model):
            yield

    def _of(
        self,
        model: nn.Module,
        inputs: Sequence[Tensor],
        target: Tensor | None,
        differentiable: bool,
    ) -> Gradients:
        """One forward pass and the deltas at every use of a chosen parameter in it."""
        chosen = choose(self.model, self.parameters)
        parameters = list(self.model.parameters())
        rows = [*inputs] if target is None else [*inputs, target]
        if any(module.training for module in self.model.modules()):
            self._check_independence(inputs, target)
        random = RandomState(inputs[0].device)
        with model_lock(self.model), self._pass_of(model):
            kept = KeptTensors(self.model)
            with ParameterUses(chosen, parameters, rows) as record, no_saved_tensors_hooks():
                losses = self.loss(model(*inputs), target)
        outside = record.trace.outside
        refuse_older_passes(outside, record.token)
        if len(losses) != len(inputs[0]):
            raise ValueError(
                f"The model made {len(losses)} outputs of {len(inputs[0])} examples; its "
                "output's first dimension must count examples, as the input's does. "
                "output_fn can rearrange it."
            )
        # What has no rule is differentiated by autograd: by way of the leaves that stood in for
        # parameters, or, in functions that torch does not show, of the parameters themselves.
        leaves = [*record.left_to_autograd(), *chosen.items()]
        uses = record.uses + [whole(name, leaf) for name, leaf in leaves]
        with told_of_freed_graphs():
            terms, live = self._collector.terms(
                uses, record.computed, record.trace.key, losses, differentiable
            )
        kept.refuse(chosen, outside, terms.keys())
        shared = not all(term.separable for term in terms.values())
        if len(losses) > 1:
            self.pass_each = [name for name, term in terms.items() if term.shared]
            tell_once(self.model, self.pass_each)
        else:  # shares nothing, but a batch would what is not made of images
            shared = not all(record.trace.is_of_images(use.output) for use in live)
        activations = [tensor for use in record.uses for tensor in use.inputs]
        # Of a computed weight each example's gradient is formed.
        activations += [
            one.weight.expand(len(losses), *one.weight.shape) for one in record.computed
        ]
        self.room.saw(inputs, activations, shared)
        drawn = random.changed()
        if drawn:
            random.put_back()
        if drawn or (shared and len(losses) > 1):
            self._check_independence(inputs, target)
        return Gradients(losses, terms)

    def _check_independence(self, inputs: Sequence[Tensor], target: Tensor | None) -> None:
        """Where there is reason to, once for each state of the training flags."""
        flags = tuple(module.training for module in self.model.modules())
        if flags in self._independent:
            return
        twin = hookless(self.model)
        with (
            model_lock(self.model),
            as_found(twin, counters=True),
            in_the_place_of(self.model),
            torch.no_grad(),
        ):
            check_independence(
                lambda images, labels: self.loss(twin(*images), labels), inputs, target, any(flags)
            )
        self._independent.add(flags)
