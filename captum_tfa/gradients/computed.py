"""Weights that a model computes from its parameters: normalised, standardised, masked, cut up.

A layer with weight ``W = h(θ)`` gives each example a gradient of ``W`` by the layer's own rule, and
``h`` has seen no example, so the gradient of ``θ`` is ``g_θ = Jᵀ g_W`` with one Jacobian ``J`` for
all. Taking all examples' ``Jᵀ g_W`` at once is one backward pass through ``h`` alone, which is as
small as the weight, in the place of a backward pass through the whole model for each example. The
result is exact for norms too, and it can be differentiated in the images: ``Jᵀ`` is linear.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True, eq=False)
class ComputedWeight:
    """A weight that was computed from parameters alone.

    Attributes:
        name: what stands for it in the record of a pass.
        weight: the weight, in the graph of its computation.
        leaves: what stood in for the parameters that count, by their names.
    """

    name: str
    weight: Tensor
    leaves: Mapping[str, Tensor]

    def pulled_back(self, gradients: Tensor) -> dict[str, Tensor]:
        """``Jᵀ g_W`` of each example.

        Args:
            gradients: ``g_W``, ``[B, *weight.shape]``.

        Returns:
            ``[B, *parameter.shape]`` by name.
        """
        try:
            parts = self._vjp(gradients, batched=True)
        except RuntimeError:  # a function in ``h`` that torch cannot take for several at a time
            each = [self._vjp(one, batched=False) for one in gradients]
            parts = tuple(map(torch.stack, zip(*each, strict=True)))
        return dict(zip(self.leaves, parts, strict=True))

    def _vjp(self, gradients: Tensor, batched: bool) -> tuple[Tensor, ...]:
        return torch.autograd.grad(
            self.weight,
            list(self.leaves.values()),
            gradients,
            retain_graph=True,
            create_graph=torch.is_grad_enabled(),
            is_grads_batched=batched,
        )


def leaves_below(weight: Tensor, names: Mapping[int, str]) -> dict[str, Tensor] | None:
    """What a weight was computed from, if that is leaves of known names and nothing else.

    Args:
        weight: the weight.
        names: names of leaves, by their `id`.

    Returns:
        The leaves by name, or ``None`` if there are others, or anything that is no leaf.
    """
    found: dict[str, Tensor] = {}
    seen: set[torch.autograd.graph.Node] = set()
    todo = [weight.grad_fn]
    while todo:
        node = todo.pop()
        if node is None or node in seen:
            continue
        seen.add(node)
        leaf = getattr(node, "variable", None)
        if leaf is not None and id(leaf) in names:
            found[names[id(leaf)]] = leaf
        elif not node.next_functions:
            return None
        todo += [following for following, _ in node.next_functions]
    return found or None
