"""Curvature in the eigenbasis of Kronecker factors: what K-FAC and EK-FAC have in common.

A layer's block is ``(U_D ⊗ U_A) diag(Λ) (U_D ⊗ U_A)ᵀ``, so

    (H + λI)⁻¹ G = U_D [(U_Dᵀ G U_A) / (Λ + λ)] U_Aᵀ .

The two kinds differ in ``Λ`` alone. Parameters without factors (norm layers, embeddings, anything
that has no rule) have their diagonal ``E[g²]``; blocks of different layers do not meet.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace

import torch
from torch import Tensor

from captum_tfa.curvature.curvature import Curvature
from captum_tfa.curvature.eigen import eigen
from captum_tfa.curvature.factors import Layer, layer_of
from captum_tfa.curvature.fingerprint import Fingerprint
from captum_tfa.gradients.terms import Term

# A symmetric product is computed in blocks of so many rows, and only above the diagonal.
_BLOCK = 256

# Decomposing a larger factor takes gigabytes, and time with the third power of its side.
MOST_SIDE = 10_000

# Rounding makes zeros as large as so many units in the last place of what is greatest.
_NOISE = 10

LEFT, RIGHT, EIGENVALUES = "left", "right", "eigenvalues"


class KroneckerCurvature(Curvature):
    """Blocks of layers in their eigenbases, the diagonal for the rest.

    Its tensors are, for a layer's weight ``w``, ``w:left`` ``[groups, O, O]``, ``w:right``
    ``[groups, K, K]`` and ``w:eigenvalues`` ``[groups, O, K]``, for any other parameter ``p``
    ``p:eigenvalues`` with its own shape.
    """

    def __init__(
        self, fingerprint: Fingerprint, tensors: Mapping[str, Tensor], damping: float
    ) -> None:
        # Where a rotated gradient should be 0 it is some units in the last place of others.
        precision = max(torch.finfo(each.dtype).eps for each in tensors.values())
        self.rounding = (_NOISE * precision) ** 2
        super().__init__(fingerprint, tensors, damping)

    @property
    def layers(self) -> tuple[Layer, ...]:
        """The layers that have Kronecker factors; all other parameters have their diagonal."""
        return tuple(Layer(*entry) for entry in self.fingerprint.settings["layers"])

    @property
    def blocks(self) -> tuple[frozenset[str], ...]:
        """Each layer by itself, and each parameter that has none."""
        layers = [frozenset(inside([layer])) for layer in self.layers]
        alone = [name for name in self.names if name not in inside(self.layers)]
        return (*layers, *(frozenset([name]) for name in alone))

    def _found_trace(self) -> float:
        return math.fsum(float(each.double().sum()) for each in self._eigenvalues())

    def _least_and_greatest(self) -> tuple[float, float]:
        ends = [each.aminmax() for each in self._eigenvalues() if each.numel()]
        return min(float(end.min) for end in ends), max(float(end.max) for end in ends)

    def _eigenvalues(self) -> Iterator[Tensor]:
        for name, tensor in self._tensors.items():
            if name.endswith(f":{EIGENVALUES}"):
                yield tensor

    def _solve(self, vectors: dict[str, Tensor]) -> dict[str, Tensor]:
        solved: dict[str, Tensor] = {}
        for layer in self.layers:
            joined = layer.joined(vectors)
            left, right, eigenvalues = (
                self._tensors[f"{layer.weight}:{part}"].to(joined)
                for part in (LEFT, RIGHT, EIGENVALUES)
            )
            inside = left.mT @ joined @ right / (eigenvalues + self.absolute_damping)
            solved |= layer.parted(left @ inside @ right.mT, vectors)
        for name in vectors.keys() - solved.keys():
            diagonal = self._tensors[f"{name}:{EIGENVALUES}"].to(vectors[name])
            solved[name] = vectors[name] / (diagonal + self.absolute_damping)
        return solved


class Covariances:
    """Adds up ``Σ a aᵀ`` and ``Σ δ δᵀ`` of each layer, as upper triangles."""

    def __init__(self) -> None:
        self._right: dict[Layer, Tensor] = {}
        self._left: dict[Layer, Tensor] = {}
        self._without: set[str] = set()

    @property
    def layers(self) -> list[Layer]:
        """The layers that have been seen."""
        return list(self._left)

    @torch.no_grad()
    def add(self, terms: Mapping[str, Term]) -> None:
        """Take in the gradients of some examples."""
        known = {layer.weight: layer for layer in self._left}
        for name in terms:
            layer = known.get(name)
            if layer is None and name not in self._without:
                layer = layer_of(name, terms)
            if layer is None:
                self._without.add(name)
                continue
            factors = layer.factors(terms)
            if factors is not None:
                if max(factor.shape[1] for factor in factors) > MOST_SIDE:
                    self._leave_out(layer, factors)
                    continue
                for totals, factor in zip((self._right, self._left), factors, strict=True):
                    columns = factor.flatten(2)
                    if layer not in totals:
                        groups, size = columns.shape[:2]
                        totals[layer] = columns.new_zeros(groups, size, size)
                    _add_squared(totals[layer], columns)

    def _leave_out(self, layer: Layer, factors: Sequence[Tensor]) -> None:
        """The factors are too large to decompose; the diagonal is taken, and that is told."""
        self._without.add(layer.weight)
        inputs, outputs = (factor.shape[1] for factor in factors)
        warnings.warn(
            f"'{layer.weight}' has {inputs:,} inputs and {outputs:,} outputs; Kronecker factors "
            f"are taken up to {MOST_SIDE:,}, so it has its diagonal only. kind='fisher' takes "
            "layers of any size.",
            stacklevel=2,
        )

    def eigenbases(self) -> Iterator[tuple[Layer, tuple[Tensor, Tensor], tuple[Tensor, Tensor]]]:
        """Of each layer the eigenvalues ``(d, a)`` and eigenvectors ``(U_D, U_A)`` of both sums.

        Found in float64, whatever the model's precision. The sums are given up on the way.
        """
        for layer in self.layers:
            sums = [totals.pop(layer) for totals in (self._left, self._right)]
            left, right = (tuple(part.to(each) for part in eigen(each)) for each in sums)
            yield layer, (_without_noise(left[0]), _without_noise(right[0])), (left[1], right[1])


def inside(layers: Iterable[Layer]) -> set[str]:
    """The names of the parameters that belong to layers."""
    names = {name for layer in layers for name in (layer.weight, layer.bias)}
    return {name for name in names if name is not None}


def with_layers(fingerprint: Fingerprint, layers: Iterable[Layer]) -> Fingerprint:
    """The fingerprint with the layers among its settings, as a file keeps them."""
    entries = [[layer.weight, layer.bias, layer.groups] for layer in layers]
    return replace(fingerprint, settings={**fingerprint.settings, "layers": entries})


def _without_noise(values: Tensor) -> Tensor:
    """Eigenvalues ``[groups, N]``, rising; what rounding alone may have made of a zero is 0."""
    least = _NOISE * torch.finfo(values.dtype).eps * values[:, -1:]
    return values.where(values > least, 0)


def _add_squared(total: Tensor, columns: Tensor) -> None:
    """Add the upper triangle of ``C Cᵀ`` to ``total [groups, K, K]``, for ``C [groups, K, N]``."""
    for start in range(0, columns.shape[1], _BLOCK):
        block = slice(start, start + _BLOCK)
        for whole, of_group in zip(total, columns, strict=True):
            whole[block, start:].addmm_(of_group[block], of_group[start:].mT)
