"""Inner products and norms of the parameter gradients of single examples.

One batched forward pass records where parameters were used (`ParameterUses`), one backward pass
takes the deltas there, and each layer type's rule turns activations and deltas into what a score
needs: ``⟨g_i, v⟩`` and ``‖g_i‖²`` for every example ``i``. All of it can be differentiated with
respect to the input of that same forward pass, which is what a map is. No gradient of the whole
batch and, layer by layer, no more than one layer's gradients are ever held.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

import captum_tfa.gradients.rules  # noqa: F401  registers the layer types
from captum_tfa.gradients.as_found import as_found
from captum_tfa.gradients.hooks import hookless, in_the_place_of, without_graph_for_hooks
from captum_tfa.gradients.independence import RandomState, check_independence
from captum_tfa.gradients.kept import KeptTensors, refuse_older_passes, told_of_freed_graphs
from captum_tfa.gradients.locks import model_lock
from captum_tfa.gradients.modes import differentiating, no_saved_tensors_hooks
from captum_tfa.gradients.module_outputs import of_their_own
from captum_tfa.gradients.rule import Products, TestGradient
from captum_tfa.gradients.selection import ParameterChoice, choose
from captum_tfa.gradients.terms import Term, TermCollector, whole
from captum_tfa.gradients.test_gradients import TestGradients
from captum_tfa.gradients.uses import ParameterUses, Use

# On a CPU, passes without a graph take as many examples at once as fit in so much memory, and at
# least so many: what is larger leaves the cache, and memory that is handed back to the system after
# each pass costs more to get again than large passes save.
_BYTES_OF_A_PASS = 2**28
_LEAST_OF_A_PASS = 4
# Test gradients are kept, so their passes are small everywhere.
_MOST_TESTS_OF_A_PASS = 16

Loss = Callable[[Any, Tensor | None], Tensor]
"""From the model's output and the labels to the loss of each example, ``[B]``."""


class ParameterGradients:
    """The parameter gradients of single examples of a model under a loss.

    Args:
        model: the user's module.
        loss: from the module's output and the labels to losses ``[B]``.
        parameters: which parameters count; see `choose`.
    """

    def __init__(self, model: nn.Module, loss: Loss, parameters: ParameterChoice) -> None:
        self.model, self.loss, self.parameters = model, loss, parameters
        self._collector = TermCollector()
        #: Memory that one differentiable example takes; unknown, and so huge, before the first.
        self.bytes_per_example = 2**62
        self._independent: set[tuple[bool, ...]] = set()
        #: Whether a batch is known to cost a backward pass for each of its examples.
        self.one_at_a_time = False

    def rows_that_fit(self, memory: int, most: int, least: int = 1) -> int:
        """How many examples of a pass fit in so many bytes, as far as is known.

        1 for models some of whose parameters need a pass of their own for each example of a batch.
        """
        if self.one_at_a_time:
            return 1
        return max(least, min(most, memory // self.bytes_per_example))

    def of_tests(self, inputs: Sequence[Tensor], target: Tensor | None) -> list[TestGradients]:
        """The gradients of test examples, each by itself, without graph and hooks.

        Args:
            inputs: the model's input tensors, each ``[M, ...]``.
            target: labels ``[M, ...]``, or ``None`` for the loss's own choice.

        Returns:
            For each example its gradients, ``M = 1``.
        """
        model = hookless(self.model)
        found: list[TestGradients] = []
        for images, labels in self._parts(inputs, target, _MOST_TESTS_OF_A_PASS):
            with differentiating(images[0].device):
                terms = self._terms(model, images, labels, False)
                with torch.no_grad():
                    gradients = {name: term.constant() for name, term in terms.items()}
                    squares = torch.stack([each.squares for each in gradients.values()]).sum(0)
            together = TestGradients(gradients, squares)
            found += [together.select(row) for row in torch.arange(len(squares)).split(1)]
        return found

    def products(
        self,
        inputs: Sequence[Tensor],
        target: Tensor | None,
        tests: TestGradients,
        rows: Tensor | None,
        differentiable: bool,
    ) -> Products:
        """Inner products of examples' gradients with test gradients, and squared norms.

        Args:
            inputs: the model's input tensors, each ``[B, ...]``.
            target: labels ``[B, ...]``, or ``None`` for the loss's own choice.
            tests: test gradients, constants.
            rows: which test gradient each example is paired with, ``[B]``; ``None`` pairs every
                example with every test gradient.
            differentiable: keep a graph, so that the results can be differentiated with respect
                to ``inputs`` and to activations of this forward pass. The user's hooks fire
                for a pass that can be differentiated, or whose examples are paired by ``rows``.
        """
        if differentiable:
            return self._products(self.model, inputs, target, tests.by_name, rows, True)
        if rows is not None:
            model = without_graph_for_hooks(self.model)
            return self._products(model, inputs, target, tests.by_name, rows, False)
        return self._in_parts(inputs, target, tests.by_name)

    def squares(self, inputs: Sequence[Tensor], target: Tensor | None) -> Tensor:
        """``‖g‖²`` of each example, ``[B]``, without graph and hooks."""
        return self._in_parts(inputs, target, {}).squares

    def terms(self, inputs: Sequence[Tensor], target: Tensor | None) -> Iterator[dict[str, Term]]:
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
                terms = self._terms(model, images, labels, False)
            yield terms

    def _in_parts(
        self, inputs: Sequence[Tensor], target: Tensor | None, tests: Mapping[str, TestGradient]
    ) -> Products:
        """Products with all test gradients, without graph and hooks."""
        model = hookless(self.model)
        return Products.joined(
            [
                self._products(model, images, labels, tests, None, False)
                for images, labels in self._parts(inputs, target, len(inputs[0]))
            ]
        )

    def _parts(
        self, inputs: Sequence[Tensor], target: Tensor | None, most: int
    ) -> Iterator[tuple[list[Tensor], Tensor | None]]:
        """The examples of a pass without a graph, one pass after the other."""
        start, count = 0, len(inputs[0])
        while start < count:
            size = min(most, count - start)
            if inputs[0].device.type == "cpu":
                fitting = self.rows_that_fit(_BYTES_OF_A_PASS, size, _LEAST_OF_A_PASS)
                size = math.ceil(size / math.ceil(size / fitting))  # parts of equal size
            part = slice(start, start + size)
            yield [tensor[part] for tensor in inputs], None if target is None else target[part]
            start += size

    def _products(
        self,
        model: nn.Module,
        inputs: Sequence[Tensor],
        target: Tensor | None,
        tests: Mapping[str, TestGradient],
        rows: Tensor | None,
        differentiable: bool,
    ) -> Products:
        with differentiating(inputs[0].device):
            terms = self._terms(model, inputs, target, differentiable)
            with torch.set_grad_enabled(differentiable):
                return _summed(terms, tests, rows)

    @contextmanager
    def _pass_of(self, model: nn.Module) -> Iterator[None]:
        """A forward pass of the model or a twin of it."""
        watched = of_their_own if model is self.model else in_the_place_of
        with as_found(model), watched(self.model):
            yield

    def _terms(
        self,
        model: nn.Module,
        inputs: Sequence[Tensor],
        target: Tensor | None,
        differentiable: bool,
    ) -> dict[str, Term]:
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
            terms = self._collector.terms(uses, record.trace.key, losses, differentiable)
        kept.refuse(chosen, outside, terms.keys())
        self.bytes_per_example = _bytes_per_example(record.uses, len(losses))
        if len(losses) > 1:  # a single example shares nothing
            self.one_at_a_time = not all(term.separable for term in terms.values())
        if random.changed():
            random.put_back()
            self._check_independence(inputs, target)
        elif self.one_at_a_time:
            self._check_independence(inputs, target)
        return terms

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


def _summed(
    terms: Mapping[str, Term], tests: Mapping[str, TestGradient], rows: Tensor | None
) -> Products:
    """The products of whole gradients: the sums over the parameters."""
    products = [term.products(tests.get(name), rows) for name, term in terms.items()]
    squares = torch.stack([part.squares for part in products]).sum(0)
    inner = [part.inner for part in products if part.inner is not None]
    return Products(torch.stack(inner).sum(0) if inner else None, squares)


def _bytes_per_example(uses: Sequence[Use], batch: int) -> int:
    """About what the graph of one example takes: activations, deltas, and their adjoints."""
    tensors = [tensor for use in uses for tensor in use.inputs]
    size = sum(tensor.numel() * tensor.element_size() for tensor in tensors)
    return 1 + 6 * size // batch
