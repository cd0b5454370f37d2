"""The terms of which each example's gradient is the sum: one for each use of a parameter."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from itertools import chain
from typing import ClassVar, Protocol

import torch
from torch import Tensor
from torch.autograd.graph import get_gradient_edge

from captum_tfa.gradients.computed import ComputedWeight
from captum_tfa.gradients.rule import Products, Rule, StoredTerm, products_of
from captum_tfa.gradients.uses import Use


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
class Separable:
    """A use whose positions belong to one example each; all tensors are ``[B, r, ...]``."""

    separable: ClassVar[bool] = True
    shared: ClassVar[bool] = False

    rule: Rule
    inputs: tuple[Tensor, ...]
    delta: Tensor

    @property
    def places(self) -> tuple[Place, ...]:
        """As `Term.places`."""
        return (self,)

    def gradient(self) -> Tensor:
        """As `Term.gradient`."""
        return self.rule.gradient(self.inputs, self.delta)

    def products(self, tests: StoredTerm | None, rows: Tensor | None) -> Products:
        """As `Term.products`."""
        return self.rule.products(self.inputs, self.delta, tests, rows)

    def stored(self) -> StoredTerm:
        """As `Term.stored`."""
        return self.rule.stored(self.inputs, self.delta)


class _Formed(ABC):
    """A term whose inner products and norms need the gradients themselves."""

    @abstractmethod
    def gradient(self) -> Tensor:
        """``[B, *parameter.shape]``."""

    def products(self, tests: StoredTerm | None, rows: Tensor | None) -> Products:
        """As `Term.products`."""
        return products_of(self.gradient(), tests, rows)

    def stored(self) -> StoredTerm:
        """As `Term.stored`."""
        return StoredTerm(None, (), self.gradient().detach())


@dataclass(frozen=True)
class Shared(_Formed):
    """A use whose positions serve all examples: one delta, and one term, for each example."""

    separable: ClassVar[bool] = False
    places: ClassVar[tuple[Place, ...]] = ()

    examples: tuple[Separable, ...]
    shared: bool

    def gradient(self) -> Tensor:
        """As `Term.gradient`."""
        return torch.cat([example.gradient() for example in self.examples])


@dataclass(frozen=True)
class Sum(_Formed):
    """A parameter that is used in several places: the norm of a sum needs the sum itself."""

    terms: tuple[Term, ...]

    @property
    def separable(self) -> bool:
        """As `Term.separable`."""
        return all(term.separable for term in self.terms)

    @property
    def shared(self) -> bool:
        """As `Term.shared`."""
        return any(term.shared for term in self.terms)

    @property
    def places(self) -> tuple[Place, ...]:
        """As `Term.places`."""
        each = [term.places for term in self.terms]
        return tuple(chain.from_iterable(each)) if all(each) else ()  # all of the term, or none

    def gradient(self) -> Tensor:
        """As `Term.gradient`."""
        total = self.terms[0].gradient()
        for term in self.terms[1:]:
            total = total + term.gradient()
        return total


class OfWeight:
    """The gradients of the parameters that a computed weight was made of, found together.

    They are handed out once each, one parameter after the other, and then not kept.
    """

    def __init__(self, term: Term, computed: ComputedWeight) -> None:
        self.term, self._computed = term, computed
        self._found: dict[tuple[bool, str], Tensor] = {}

    def gradient(self, name: str) -> Tensor:
        """The gradient of one of these parameters, ``[B, *parameter.shape]``."""
        key = torch.is_grad_enabled(), name
        if key not in self._found:
            parts = self._computed.pulled_back(self.term.gradient())
            self._found = {(key[0], part): gradient for part, gradient in parts.items()}
        return self._found.pop(key)


@dataclass(frozen=True)
class PulledBack(_Formed):
    """A parameter's part in a weight that was computed from it."""

    places: ClassVar[tuple[Place, ...]] = ()

    name: str
    of_weight: OfWeight

    @property
    def separable(self) -> bool:
        """As `Term.separable`."""
        return self.of_weight.term.separable

    @property
    def shared(self) -> bool:
        """As `Term.shared`."""
        return self.of_weight.term.shared

    def gradient(self) -> Tensor:
        """As `Term.gradient`."""
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
