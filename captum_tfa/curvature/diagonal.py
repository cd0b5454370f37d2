"""The diagonal of the Fisher matrix: ``H = diag(E[g²])``, for every parameter whatever its use.

The cheapest kind. It knows how strongly each weight acts, and nothing of weights that act together.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping

import torch
from torch import Tensor

from captum_tfa.curvature.curvature import Curvature
from captum_tfa.curvature.fingerprint import Fingerprint
from captum_tfa.curvature.precision import summable
from captum_tfa.curvature.samples import Samples
from captum_tfa.gradients.terms import Term


class DiagonalCurvature(Curvature):
    """``E[g²]`` by parameter, each ``[*parameter.shape]``."""

    kind = "diagonal"

    @classmethod
    def fitted(cls, samples: Samples, fingerprint: Fingerprint, damping: float) -> Curvature:
        """As `Curvature.fitted`."""
        squares = SquaresSum(samples.chosen)
        for terms in samples.terms("diagonal: squares"):
            squares.add(terms)
        return cls(fingerprint, squares.means(len(samples)), damping)

    @property
    def blocks(self) -> tuple[frozenset[str], ...]:
        """Each parameter by itself."""
        return tuple(frozenset([name]) for name in self.names)

    def _found_trace(self) -> float:
        return math.fsum(float(tensor.double().sum()) for tensor in self._tensors.values())

    def _least_and_greatest(self) -> tuple[float, float]:
        ends = [tensor.aminmax() for tensor in self._tensors.values() if tensor.numel()]
        return min(float(end.min) for end in ends), max(float(end.max) for end in ends)

    def _solve(self, vectors: dict[str, Tensor]) -> dict[str, Tensor]:
        return {
            name: vector / (self._tensors[name].to(vector) + self.absolute_damping)
            for name, vector in vectors.items()
        }


class SquaresSum:
    """Adds up the squares of gradients, entry by entry.

    Args:
        parameters: of which parameters, by name.
    """

    def __init__(self, parameters: Mapping[str, Tensor]) -> None:
        self.by_name = {
            name: summable(torch.zeros_like(parameter, requires_grad=False))
            for name, parameter in parameters.items()
        }

    @torch.no_grad()
    def add(self, terms: Mapping[str, Term], without: Collection[str] = ()) -> None:
        """Take in the gradients of some examples, without those of some parameters."""
        for name, total in self.by_name.items():
            if name in terms and name not in without:
                total += summable(terms[name].gradient()).square().sum(0)

    def means(self, count: int, without: Collection[str] = ()) -> dict[str, Tensor]:
        """``E[g²]`` by parameter, over so many examples, without some parameters."""
        return {name: total / count for name, total in self.by_name.items() if name not in without}
