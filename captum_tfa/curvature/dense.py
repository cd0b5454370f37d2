"""Curvature as a dense matrix of all parameters, by its eigenvalues; for small models."""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
from torch import Tensor

from captum_tfa.curvature.curvature import Curvature
from captum_tfa.curvature.eigen import eigen
from captum_tfa.curvature.fingerprint import Fingerprint
from captum_tfa.curvature.flat import by_parameter, flattened

# Memory grows with the square of this, decomposing with its third power: a minute on two cores.
MOST_PARAMETERS = 5000

_VALUES, _VECTORS = "values", "vectors"


class DenseCurvature(Curvature):
    """``H = Q diag(Λ) Qᵀ``; its tensors are ``values [P]`` and ``vectors [P, P]``, in float64."""

    of_gradients = False
    # The decomposition's own error, with a margin for large matrices.
    rounding = 100 * torch.finfo(torch.float64).eps

    @classmethod
    def of_matrix(cls, matrix: Tensor, fingerprint: Fingerprint, damping: float) -> DenseCurvature:
        """The curvature with this ``H``, ``[P, P]`` in float64."""
        values, vectors = eigen((matrix + matrix.T) / 2)
        return cls(fingerprint, {_VALUES: values, _VECTORS: vectors}, damping)

    def _found_trace(self) -> float:
        return math.fsum(self._tensors[_VALUES].tolist())

    def _least_and_greatest(self) -> tuple[float, float]:
        values = self._tensors[_VALUES]
        return float(values[0]), float(values.abs().max())

    def _solve(self, vectors: dict[str, Tensor]) -> dict[str, Tensor]:
        flat = flattened(vectors)
        values, basis = (self._tensors[part].to(flat) for part in (_VALUES, _VECTORS))
        solved = (flat @ basis / (values + self.absolute_damping)) @ basis.T
        return by_parameter(solved, vectors)


def refuse_large(kind: str, shapes: Mapping[str, torch.Size]) -> None:
    """Raise if a dense matrix of all parameters is too large.

    Raises:
        ValueError: with the sizes, and what to take instead.
    """
    count = sum(shape.numel() for shape in shapes.values())
    if count > MOST_PARAMETERS:
        raise ValueError(
            f"kind={kind!r} makes a dense matrix of {count:,} parameters and takes up to "
            f"{MOST_PARAMETERS:,}. Take kind='ekfac', 'fisher' or 'cg', or fewer parameters: "
            "parameters=['fc']."
        )
