"""Group normalisation: with the normalised activation ``x̂``, ``g_w = Σ δ x̂``, ``g_b = Σ δ``."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor

from captum_tfa.gradients.registry import records
from captum_tfa.gradients.rules.sums import ChannelSum
from captum_tfa.gradients.uses import ParameterUses


@records(F.group_norm)
def group_norm(
    uses: ParameterUses,
    input: Tensor,
    num_groups: int,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    eps: float = 1e-5,
) -> Tensor:
    return channel_affine(uses, F.group_norm(input, num_groups, eps=eps), weight, bias)


def channel_affine(
    uses: ParameterUses, normalized: Tensor, weight: Tensor | None, bias: Tensor | None
) -> Tensor:
    """``normalized · weight + bias`` with one number a channel, recorded."""
    channels = (-1, *[1] * (normalized.ndim - 2))
    output = normalized
    if weight is not None:
        output = output * uses.constant(weight).view(channels)
    if bias is not None:
        output = output + uses.constant(bias).view(channels)
    return uses.record(
        output,
        (weight, ChannelSum(scale=True), (normalized,)),
        (bias, ChannelSum(scale=False), ()),
    )
