"""Second derivatives of the loss in the model's outputs, one small matrix an example."""

from __future__ import annotations

import torch
from torch import Tensor

from captum_tfa.curvature.samples import Samples
from captum_tfa.gradients.losses import ExampleLosses
from captum_tfa.gradients.plain_pass import plain_pass


def outputs_of(samples: Samples, inputs: tuple[Tensor, ...]) -> Tensor:
    """The model's outputs ``[B, ...]``, without a graph."""
    with plain_pass(samples.model) as model, torch.no_grad():
        return samples.losses.outputs(model(*inputs))


def second_derivatives(losses: ExampleLosses, outputs: Tensor, labels: Tensor) -> Tensor:
    """``∂²L/∂f²`` of each example, ``[B, C, C]`` with ``C`` numbers in its output.

    Raises:
        ValueError: the loss cannot be differentiated twice.
    """
    with torch.enable_grad(), torch.autocast(outputs.device.type, enabled=False):
        flat = outputs.detach().flatten(1).requires_grad_()
        total = losses.of_outputs(flat.reshape(outputs.shape), labels).sum()
        (first,) = torch.autograd.grad(total, flat, create_graph=True)
        if not first.requires_grad:  # linear in the outputs
            return flat.new_zeros(len(flat), flat.shape[1], flat.shape[1])
        rows = [
            torch.autograd.grad(column.sum(), flat, retain_graph=True, materialize_grads=True)[0]
            for column in first.unbind(1)
        ]
    return torch.stack(rows, 1).detach()
