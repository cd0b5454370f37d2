"""From recorded uses to the terms of which each example's gradient is the sum."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import OrderedDict
from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import ClassVar, Protocol

import torch
from torch import Tensor
from torch.autograd.graph import get_gradient_edge

from captum_tfa.gradients.computed import ComputedWeight
from captum_tfa.gradients.layout import Layout, by_example, example_weights, layout_of
from captum_tfa.gradients.rule import Products, Rule, StoredTerm, products_of
from captum_tfa.gradients.uses import Use

# A new size of the images or of the batch is a new pattern; a service sees no end of them.
_MOST_LAYOUTS = 32


class Place(Protocol):
    """One use of a parameter, by ``B`` examples; all tensors are ``[B, r, ...]``."""

    @property
    def rule(self) -> Rule:
        """How the gradient follows."""
        ...

    @property
    def inputs(self) -> tuple[Tensor, ...]:
        """What went in."""
        ...

    @property
    def delta(self) -> Tensor:
        """The gradient of the loss at what came out."""
        ...


class Term(Protocol):
    """What one use of a parameter adds to the gradients of ``B`` examples."""

    @property
    def separable(self) -> bool:
        """Whether one backward pass served all examples."""
        ...

    @property
    def shared(self) -> bool:
        """Whether it surely did not: deltas of zero leave it open."""
        ...

    @property
    def places(self) -> tuple[Place, ...]:
        """The uses that make up the term; none if their positions are shared by examples."""
        ...

    def gradient(self) -> Tensor:
        """``[B, *parameter.shape]``."""
        ...

    def products(self, tests: StoredTerm | None, rows: Tensor | None) -> Products:
        """As `Rule.products`."""
        ...

    def stored(self) -> StoredTerm:
        """The term as a constant."""
        ...


@dataclass(frozen=True)
class _Separable:
    """A use whose positions belong to one example each; all tensors are ``[B, r, ...]``."""

    separable: ClassVar[bool] = True
    shared: ClassVar[bool] = False

    rule: Rule
    inputs: tuple[Tensor, ...]
    delta: Tensor

    @property
    def places(self) -> tuple[Place, ...]:
        return (self,)

    def gradient(self) -> Tensor:
        return self.rule.gradient(self.inputs, self.delta)

    def products(self, tests: StoredTerm | None, rows: Tensor | None) -> Products:
        return self.rule.products(self.inputs, self.delta, tests, rows)

    def stored(self) -> StoredTerm:
        return self.rule.stored(self.inputs, self.delta)


class _Formed(ABC):
    """A term whose inner products and norms need the gradients themselves."""

    @abstractmethod
    def gradient(self) -> Tensor:
        """``[B, *parameter.shape]``."""

    def products(self, tests: StoredTerm | None, rows: Tensor | None) -> Products:
        return products_of(self.gradient(), tests, rows)

    def stored(self) -> StoredTerm:
        return StoredTerm(None, (), self.gradient().detach())


@dataclass(frozen=True)
class _Shared(_Formed):
    """A use whose positions serve all examples: one delta, and one term, for each example."""

    separable: ClassVar[bool] = False
    places: ClassVar[tuple[Place, ...]] = ()

    examples: tuple[_Separable, ...]
    shared: bool

    def gradient(self) -> Tensor:
        return torch.cat([example.gradient() for example in self.examples])


@dataclass(frozen=True)
class _Sum(_Formed):
    """A parameter that is used in several places: the norm of a sum needs the sum itself."""

    terms: tuple[Term, ...]

    @property
    def separable(self) -> bool:
        return all(term.separable for term in self.terms)

    @property
    def shared(self) -> bool:
        return any(term.shared for term in self.terms)

    @property
    def places(self) -> tuple[Place, ...]:
        if not self.separable:
            return ()
        return tuple(place for term in self.terms for place in term.places)

    def gradient(self) -> Tensor:
        total = self.terms[0].gradient()
        for term in self.terms[1:]:
            total = total + term.gradient()
        return total


class _OfWeight:
    """The gradients of the parameters that a computed weight was made of, found together.

    They are handed out once each, one parameter after the other, and then not kept.
    """

    def __init__(self, term: Term, computed: ComputedWeight) -> None:
        self.term, self._computed = term, computed
        self._found: dict[tuple[bool, str], Tensor] = {}

    def gradient(self, name: str) -> Tensor:
        key = torch.is_grad_enabled(), name
        if key not in self._found:
            parts = self._computed.pulled_back(self.term.gradient())
            self._found = {(key[0], part): gradient for part, gradient in parts.items()}
        return self._found.pop(key)


@dataclass(frozen=True)
class _PulledBack(_Formed):
    """A parameter's part in a weight that was computed from it."""

    places: ClassVar[tuple[Place, ...]] = ()

    name: str
    of_weight: _OfWeight

    @property
    def separable(self) -> bool:
        return self.of_weight.term.separable

    @property
    def shared(self) -> bool:
        return self.of_weight.term.shared

    def gradient(self) -> Tensor:
        return self.of_weight.gradient(self.name)


class _WholeGradient(Rule):
    """A parameter that autograd itself differentiates: its delta is its gradient."""

    leading = 0

    def gradient(self, inputs: tuple[Tensor, ...], delta: Tensor) -> Tensor:
        return delta.sum(1)


def whole(name: str, parameter: Tensor) -> Use:
    """The use of a parameter by functions that have no rule, all of them together."""
    edge = get_gradient_edge(parameter)
    return Use(name, _WholeGradient(), (), (), edge, parameter.shape, parameter)


class TermCollector:
    """Takes the deltas of recorded uses and sorts them by example.

    How a model lays out its examples is found once for each pattern of uses and remembered.
    """

    def __init__(self) -> None:
        self._layouts: OrderedDict[Hashable, list[tuple[Layout, bool]]] = OrderedDict()

    def terms(
        self,
        uses: Sequence[Use],
        computed: Sequence[ComputedWeight],
        trace: Hashable,
        losses: Tensor,
        differentiable: bool,
    ) -> tuple[dict[str, Term], list[Use]]:
        """The gradient of each parameter that the losses depend on, as terms.

        Args:
            uses: what a forward pass recorded.
            computed: the computed weights among what was used.
            trace: stands for what that pass did; ``None`` if it may lay out examples otherwise
                the next time.
            losses: the losses of that pass, ``[B]``.
            differentiable: keep the graph of the deltas.

        Returns:
            One term, or the sum of several, by parameter name; and the uses that count.

        Raises:
            RuntimeError: the losses depend on no recorded parameter.
        """
        uses = uses if losses.requires_grad else []
        deltas = _deltas(losses.sum(), uses, differentiable) if uses else []
        live = [(use, delta) for use, delta in zip(uses, deltas, strict=True) if delta is not None]
        if not live:
            raise RuntimeError(
                "The loss depends on none of the chosen parameters. Choose parameters that the "
                "model's output uses, and do not compute the output under torch.no_grad()."
            )
        layouts = self._layouts_of(live, trace, losses)
        shared = [
            use
            for (use, _), (layout, _) in zip(live, layouts, strict=True)
            if layout is Layout.SHARED
        ]
        each = [_deltas(loss, shared, differentiable) for loss in losses] if shared else []
        shared_deltas = iter(zip(*each, strict=True))
        found: dict[str, list[Term]] = {}
        for (use, delta), (layout, certain) in zip(live, layouts, strict=True):
            use.check_unchanged()
            if layout is Layout.SHARED:
                term: Term = _Shared(
                    tuple(
                        _separable(use, _zero_if_none(one, delta), 1, Layout.EXAMPLE_FIRST)
                        for one in next(shared_deltas)
                    ),
                    certain,
                )
            else:
                term = _separable(use, delta, len(losses), layout)
            found.setdefault(use.name, []).append(term)
        for weight in computed:
            if weight.name in found:
                of_weight = _OfWeight(_added(found.pop(weight.name)), weight)
                for name in weight.leaves:
                    found.setdefault(name, []).append(_PulledBack(name, of_weight))
        return {name: _added(terms) for name, terms in found.items()}, [use for use, _ in live]

    def _layouts_of(
        self, live: Sequence[tuple[Use, Tensor]], trace: Hashable, losses: Tensor
    ) -> list[tuple[Layout, bool]]:
        """The layout of each use, and whether it is certain."""
        batch = len(losses)
        if batch == 1:
            return [(Layout.EXAMPLE_FIRST, True)] * len(live)
        pattern = (trace, *((use.name, type(use.rule), use.shape) for use, _ in live))
        if trace is not None and pattern in self._layouts:
            self._layouts.move_to_end(pattern)
            return self._layouts[pattern]
        weights = example_weights(batch, losses)
        uses = [use for use, _ in live]
        weighted = _deltas((weights * losses).sum(), uses, differentiable=False)
        found = [
            layout_of(delta, _zero_if_none(other, delta), weights, _leading(use))
            for (use, delta), other in zip(live, weighted, strict=True)
        ]
        if trace is not None and all(certain for _, certain in found):
            self._layouts[pattern] = found
            if len(self._layouts) > _MOST_LAYOUTS:
                self._layouts.popitem(last=False)
        return found


def _added(terms: Sequence[Term]) -> Term:
    return terms[0] if len(terms) == 1 else _Sum(tuple(terms))


def _leading(use: Use) -> int:
    return use.rule.positions(use.shape)


def _separable(use: Use, delta: Tensor, batch: int, layout: Layout) -> _Separable:
    leading = _leading(use)
    inputs = tuple(by_example(tensor, leading, batch, layout) for tensor in use.inputs)
    return _Separable(use.rule, inputs, by_example(delta, leading, batch, layout))


def _zero_if_none(delta: Tensor | None, like: Tensor) -> Tensor:
    return torch.zeros_like(like) if delta is None else delta


def _deltas(loss: Tensor, uses: Sequence[Use], differentiable: bool) -> list[Tensor | None]:
    """The gradient of a scalar at the output of each use; ``None`` where it has no part in it."""
    places = {id(use.edge): use.edge for use in uses}
    deltas = torch.autograd.grad(
        loss,
        list(places.values()),
        create_graph=differentiable,
        retain_graph=True,
        allow_unused=True,
    )
    by_place = dict(zip(places, deltas, strict=True))
    return [by_place[id(use.edge)] for use in uses]
