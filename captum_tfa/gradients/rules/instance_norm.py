"""Instance normalisation: with the normalised activation ``x̂``, ``g_w = Σ δ x̂``, ``g_b = Σ δ``.

It is made of sums and products here: torch runs it through batch normalisation, whose backward pass
on a CPU (torch 2.15) is wrong for gradients whose channels come last.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from captum_tfa.gradients.registry import records
from captum_tfa.gradients.rules.group_norm import channel_affine
from captum_tfa.gradients.rules.sums import standardised
from captum_tfa.gradients.uses import ParameterUses


@records(F.instance_norm)
def instance_norm(
    uses: ParameterUses,
    input: Tensor,
    running_mean: Tensor | None = None,
    running_var: Tensor | None = None,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    use_input_stats: bool = True,
    momentum: float = 0.1,
    eps: float = 1e-5,
) -> Tensor:
    if running_mean is None or running_var is None or use_input_stats:
        normalized = standardised(input, tuple(range(2, input.ndim)), eps)
    else:
        channels = (-1, *[1] * (input.ndim - 2))
        scale = torch.rsqrt(running_var + eps).view(channels)
        normalized = (input - running_mean.view(channels)) * scale
    return channel_affine(uses, normalized, weight, bias)
