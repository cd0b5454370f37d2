"""Instance normalisation: with the normalised activation ``x̂``, ``g_w = Σ δ x̂``, ``g_b = Σ δ``."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor

from captum_tfa.gradients.registry import records
from captum_tfa.gradients.rules.group_norm import channel_affine
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
    normalized = F.instance_norm(
        input, running_mean, running_var, None, None, use_input_stats, momentum, eps
    )
    return channel_affine(uses, normalized, weight, bias)
