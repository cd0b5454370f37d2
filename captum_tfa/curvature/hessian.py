"""The Hessian of the mean training loss itself, dense [koh2017understanding].

It is positive only near a minimum. Where it is not, even damped, no influence follows from it and
it is refused: take the generalised Gauss-Newton matrix then.
"""

from __future__ import annotations

import torch
from torch import Tensor

from captum_tfa.curvature.curvature import Curvature
from captum_tfa.curvature.dense import DenseCurvature, refuse_large
from captum_tfa.curvature.fingerprint import Fingerprint
from captum_tfa.curvature.samples import Samples
from captum_tfa.gradients.modes import differentiating
from captum_tfa.gradients.plain_pass import plain_pass


class HessianCurvature(DenseCurvature):
    """`DenseCurvature` with the second derivatives of the mean loss, by double backward."""

    kind = "hessian"

    @classmethod
    def fitted(cls, samples: Samples, fingerprint: Fingerprint, damping: float) -> Curvature:
        """As `Curvature.fitted`."""
        refuse_large(cls.kind, fingerprint.shapes)
        total = torch.zeros(fingerprint.count, fingerprint.count, dtype=torch.float64)
        for inputs, labels in samples.labelled("hessian"):
            _add(total, samples, inputs, labels)
        return cls.of_matrix(total / len(samples), fingerprint, damping)

    def _remedy(self) -> str:
        return (
            "The model is no minimum of its training loss: take kind='ggn', raise damping, or "
            "train on."
        )


def _add(total: Tensor, samples: Samples, inputs: tuple[Tensor, ...], labels: Tensor) -> None:
    """Add the second derivatives of the losses of a batch, row by row."""
    parameters = list(samples.chosen.values())
    with differentiating(labels.device):
        with plain_pass(samples.model) as model:
            loss = samples.losses(model(*inputs), labels).sum()
        first = torch.autograd.grad(
            loss, parameters, create_graph=True, allow_unused=True, materialize_grads=True
        )
        flat = torch.cat([part.reshape(-1) for part in first])
        if not flat.requires_grad:  # linear in every parameter
            return
        for row, entry in enumerate(flat):
            if not entry.requires_grad:
                continue
            second = torch.autograd.grad(
                entry, parameters, retain_graph=True, allow_unused=True, materialize_grads=True
            )
            total[row] += torch.cat([part.reshape(-1) for part in second]).double().cpu()
