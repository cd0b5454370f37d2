"""EK-FAC: K-FAC's eigenbases with the true second moments along them [george2018ekfac].

    Λ = E[(U_Dᵀ G U_A)²] ,

entry by entry, ``G`` the gradient of one example. The best diagonal in that basis; used for
influence by [grosse2023studying]. Two passes over the data: one for the bases, one for ``Λ``.
"""

from __future__ import annotations

import torch
from torch import Tensor

from captum_tfa.curvature.diagonal import SquaresSum
from captum_tfa.curvature.fingerprint import Fingerprint
from captum_tfa.curvature.kronecker import (
    EIGENVALUES,
    LEFT,
    RIGHT,
    Covariances,
    KroneckerCurvature,
    inside,
    with_layers,
)
from captum_tfa.curvature.samples import Samples

# Numbers of rotated gradients at once.
_MOST_NUMBERS = 2**24


class EkfacCurvature(KroneckerCurvature):
    """`KroneckerCurvature` with ``Λ = E[(U_Dᵀ G U_A)²]``."""

    kind = "ekfac"

    @classmethod
    def fitted(
        cls, samples: Samples, fingerprint: Fingerprint, damping: float
    ) -> KroneckerCurvature:
        """As `Curvature.fitted`."""
        covariances = Covariances()
        for terms in samples.terms("ekfac: eigenbases"):
            covariances.add(terms)
        layers = covariances.layers
        tensors = {}
        for layer, _, (left, right) in covariances.eigenbases():
            tensors[f"{layer.weight}:{LEFT}"], tensors[f"{layer.weight}:{RIGHT}"] = left, right
            tensors[f"{layer.weight}:{EIGENVALUES}"] = left.new_zeros(
                layer.groups, left.shape[-1], right.shape[-1]
            )
        others = SquaresSum(samples.chosen)
        for terms in samples.terms("ekfac: eigenvalues"):
            with torch.no_grad():
                for layer in layers:
                    factors = layer.factors(terms)
                    if factors is not None:
                        left, right, total = (
                            tensors[f"{layer.weight}:{part}"] for part in (LEFT, RIGHT, EIGENVALUES)
                        )
                        _add_squares(total, *factors, left, right)
            others.add(terms, inside(layers))
        for layer in layers:
            tensors[f"{layer.weight}:{EIGENVALUES}"] /= len(samples)
        for name, mean in others.means(len(samples), inside(layers)).items():
            tensors[f"{name}:{EIGENVALUES}"] = mean
        return cls(with_layers(fingerprint, layers), tensors, damping)


def _add_squares(
    total: Tensor, activations: Tensor, deltas: Tensor, left: Tensor, right: Tensor
) -> None:
    """Add ``(U_Dᵀ G U_A)²`` of each example to ``total``, ``[groups, O, K]``."""
    inputs, outputs = right.shape[1], left.shape[1]
    batch, positions = activations.shape[2:]
    of_positions = positions * (inputs**2 + outputs**2)
    of_gradient = inputs * outputs * (inputs + outputs)
    rotated_first = positions == 1 or of_positions < of_gradient
    if rotated_first:
        activations, deltas = _rotated(activations, right), _rotated(deltas, left)
    if positions == 1:
        squares = [factor.flatten(2).square() for factor in (deltas, activations)]
        total.baddbmm_(squares[0], squares[1].mT)
        return
    size = max(1, _MOST_NUMBERS // total.numel())
    for start in range(0, batch, size):
        part = slice(start, start + size)
        of_left, of_right = (factor[:, :, part].transpose(1, 2) for factor in (deltas, activations))
        gradients = of_left @ of_right.mT  # [groups, examples, O, K]
        if not rotated_first:
            gradients = left.mT.unsqueeze(1) @ (gradients @ right.unsqueeze(1))
        total += gradients.square_().sum(1)


def _rotated(factor: Tensor, basis: Tensor) -> Tensor:
    """``Uᵀ a`` for each position, ``[groups, K, B, T]``."""
    return (basis.mT @ factor.flatten(2)).view(factor.shape)
