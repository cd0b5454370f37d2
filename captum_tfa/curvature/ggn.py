"""The generalised Gauss-Newton matrix, dense: ``H = E[Jᵀ (∂²L/∂f²) J]`` [martens2015kfac].

``J`` is the Jacobian of one example's outputs ``f`` in the parameters, taken output by output with
the same engine that scores use. For cross-entropy it is the Fisher matrix with the expectation over
labels taken exactly. The Hessian without the curvature of the model itself: never negative where
the loss is convex in the outputs.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from captum_tfa.curvature.curvature import Curvature
from captum_tfa.curvature.dense import DenseCurvature, refuse_large
from captum_tfa.curvature.fingerprint import Fingerprint
from captum_tfa.curvature.output_hessian import outputs_of, second_derivatives
from captum_tfa.curvature.samples import Samples
from captum_tfa.gradients import GradientEngine


class GgnCurvature(DenseCurvature):
    """`DenseCurvature` with ``H = E[Jᵀ (∂²L/∂f²) J]``."""

    kind = "ggn"

    @classmethod
    def fitted(cls, samples: Samples, fingerprint: Fingerprint, damping: float) -> Curvature:
        """As `Curvature.fitted`."""
        refuse_large(cls.kind, fingerprint.shapes)
        total = torch.zeros(fingerprint.count, fingerprint.count, dtype=torch.float64)
        for inputs, labels in samples.labelled("ggn"):
            outputs = outputs_of(samples, inputs)
            jacobian = torch.stack(
                [_gradients(samples, inputs, place) for place in range(outputs[0].numel())],
                1,
            )
            inner = second_derivatives(samples.losses, outputs, labels).double().cpu()
            total += torch.einsum("bip,bij,bjq->pq", jacobian, inner, jacobian)
        return cls.of_matrix(total / len(samples), fingerprint, damping)


def _gradients(samples: Samples, inputs: tuple[Tensor, ...], place: int) -> Tensor:
    """The gradient of one output of each example, ``[B, P]``, in float64 on the CPU."""

    def output(returned: Any, _: Tensor | None) -> Tensor:
        return samples.losses.outputs(returned).flatten(1)[:, place]

    engine = GradientEngine(samples.model, output, samples.parameters)
    rows = []
    for terms in engine.terms(inputs, None):
        with torch.no_grad():
            known = {name: term.gradient().flatten(1) for name, term in terms.items()}
            batch = len(next(iter(known.values())))
            parts = [
                known.get(name, parameter.new_zeros(batch, parameter.numel()))
                for name, parameter in samples.chosen.items()
            ]
            rows.append(torch.cat(parts, 1).double().cpu())
    return torch.cat(rows)
