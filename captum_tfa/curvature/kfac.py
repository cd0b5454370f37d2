"""K-FAC: a layer's block of the Fisher matrix as one Kronecker product [martens2015kfac].

    H ≈ c · D ⊗ A ,   D = E Σ_t δ_t δ_tᵀ ,   A = E Σ_t a_t a_tᵀ ,   c = E‖g‖² / (tr D · tr A)

With ``c`` every block has the trace that it has in the Fisher matrix, also where a convolution has
many positions (*choice*: a layer with one position has ``c`` near 1 by itself). One pass over the
data; EK-FAC takes a second one and is the better approximation.
"""

from __future__ import annotations

from collections import defaultdict

import torch

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
from captum_tfa.curvature.precision import summable
from captum_tfa.curvature.samples import Samples
from captum_tfa.gradients.terms import Term


class KfacCurvature(KroneckerCurvature):
    """`KroneckerCurvature` with the products of both factors' eigenvalues as ``Λ``."""

    kind = "kfac"

    @classmethod
    def fitted(
        cls, samples: Samples, fingerprint: Fingerprint, damping: float
    ) -> KroneckerCurvature:
        """As `Curvature.fitted`."""
        covariances, others = Covariances(), SquaresSum(samples.chosen)
        squares: dict[str, float] = defaultdict(float)
        for terms in samples.terms("kfac: factors"):
            covariances.add(terms)
            in_layers = inside(covariances.layers)
            others.add(terms, in_layers)
            with torch.no_grad():
                for name in in_layers & terms.keys():
                    squares[name] += _square(terms[name])
        layers = covariances.layers
        tensors = {}
        for layer, (of_left, of_right), (left, right) in covariances.eigenbases():
            tensors[f"{layer.weight}:{LEFT}"], tensors[f"{layer.weight}:{RIGHT}"] = left, right
            product = of_left.unsqueeze(2) * of_right.unsqueeze(1)
            total = squares[layer.weight] + (0.0 if layer.bias is None else squares[layer.bias])
            wanted, trace = total / len(samples), float(product.double().sum())
            tensors[f"{layer.weight}:{EIGENVALUES}"] = product * (wanted / trace if trace else 0.0)
        for name, mean in others.means(len(samples), inside(layers)).items():
            tensors[f"{name}:{EIGENVALUES}"] = mean
        return cls(with_layers(fingerprint, layers), tensors, damping)


def _square(term: Term) -> float:
    """``Σ ‖g‖²`` over the examples."""
    squares = term.products(None, None).squares
    if summable(squares).dtype != squares.dtype:  # half precision has no room for them
        return float(summable(term.gradient()).square().sum())
    return float(squares.double().sum())
