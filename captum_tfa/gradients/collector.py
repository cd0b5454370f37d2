"""From recorded uses to each parameter's terms: deltas are taken, and sorted by example."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Hashable, Sequence

import torch
from torch import Tensor

from captum_tfa.gradients.computed import ComputedWeight
from captum_tfa.gradients.layout import Layout, by_example, example_weights, layout_of
from captum_tfa.gradients.terms import OfWeight, PulledBack, Separable, Shared, Sum, Term
from captum_tfa.gradients.uses import Use

# A new size of the images or of the batch is a new pattern; a service sees no end of them.
_MOST_LAYOUTS = 32


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
                term: Term = Shared(
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
                of_weight = OfWeight(_added(found.pop(weight.name)), weight)
                for name in weight.leaves:
                    found.setdefault(name, []).append(PulledBack(name, of_weight))
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
    return terms[0] if len(terms) == 1 else Sum(tuple(terms))


def _leading(use: Use) -> int:
    return use.rule.positions(use.shape)


def _separable(use: Use, delta: Tensor, batch: int, layout: Layout) -> Separable:
    leading = _leading(use)
    inputs = tuple(by_example(tensor, leading, batch, layout) for tensor in use.inputs)
    return Separable(use.rule, inputs, by_example(delta, leading, batch, layout))


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
