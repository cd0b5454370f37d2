"""Batch normalisation in evaluation mode, which is an affine map of each channel.

With the running mean ``μ`` and ``s = 1 / sqrt(σ² + ε)``: ``g_w = s (Σ δ x − μ Σ δ)`` and
``g_b = Σ δ``.
In training mode the examples of a batch are coupled and have no gradients of their own; scores
refuse such a model before it comes here.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from captum_tfa.gradients.registry import records
from captum_tfa.gradients.rule import Rule
from captum_tfa.gradients.rules.sums import ChannelSum, standardised
from captum_tfa.gradients.uses import ParameterUses


class BatchNormWeight(Rule):
    """The scale of a channel, for the running statistics ``mean`` and ``inverse_std``, ``[C]``."""

    leading = 1

    def __init__(self, mean: Tensor, inverse_std: Tensor) -> None:
        self.mean, self.inverse_std = mean, inverse_std

    def gradient(self, inputs: tuple[Tensor, ...], delta: Tensor) -> Tensor:
        moment = ChannelSum(scale=True).gradient(inputs, delta)
        total = ChannelSum(scale=False).gradient((), delta)
        return self.inverse_std * (moment - self.mean * total)


@records(F.batch_norm)
def batch_norm(
    uses: ParameterUses,
    input: Tensor,
    running_mean: Tensor | None,
    running_var: Tensor | None,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    training: bool = False,
    momentum: float = 0.1,
    eps: float = 1e-5,
) -> Tensor:
    if training or running_mean is None or running_var is None:
        if running_mean is not None:
            given = (running_mean, running_var, weight, bias, training, momentum, eps)
            return uses.leave(F.batch_norm, input, *given)
        # Of a weight, as weight standardisation does. See `instance_norm` for why not by torch.
        return uses.leave(_over_batch, input, weight, bias, eps)
    inverse_std = torch.rsqrt(running_var + eps)
    scale = inverse_std if weight is None else inverse_std * uses.constant(weight)
    shift = -running_mean * scale
    if bias is not None:
        shift = shift + uses.constant(bias)
    channels = (-1, *[1] * (input.ndim - 2))
    output = torch.addcmul(shift.view(channels), input, scale.view(channels))
    return uses.record(
        output,
        (weight, BatchNormWeight(running_mean, inverse_std), (input,)),
        (bias, ChannelSum(scale=False), ()),
    )


def _over_batch(input: Tensor, weight: Tensor | None, bias: Tensor | None, eps: float) -> Tensor:
    output = standardised(input, (0, *range(2, input.ndim)), eps)
    channels = (-1, *[1] * (input.ndim - 2))
    if weight is not None:
        output = output * weight.view(channels)
    return output if bias is None else output + bias.view(channels)
