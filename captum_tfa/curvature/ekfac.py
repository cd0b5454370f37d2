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
    positions, outputs = deltas.shape[2:]
    if positions == 1:
        squares = [
            (factor @ basis)[:, :, 0].square()
            for factor, basis in ((deltas, left), (activations, right))
        ]
        total += torch.einsum("bgo,bgk->gok", *squares)
        return
    size = max(1, _MOST_NUMBERS // total.numel())
    for some, of_some in zip(activations.split(size), deltas.split(size), strict=True):
        if positions < outputs:  # fewer rows to rotate than the gradient has
            rotated = (of_some @ left).mT @ (some @ right)
        else:
            rotated = left.mT @ (of_some.mT @ some) @ right
        total += rotated.square_().sum(0)
