"""Leaky rectifiers with learnt slopes, ``max(x, 0) + w min(x, 0)``: ``g_w = Σ δ min(x, 0)``.

There is one slope for all, or one for each channel.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from captum_tfa.gradients.registry import records
from captum_tfa.gradients.rule import Rule
from captum_tfa.gradients.rules.elementwise import BroadcastParameter
from captum_tfa.gradients.rules.sums import ChannelSum
from captum_tfa.gradients.uses import ParameterUses

_FUNCTIONS: list[Any] = [F.prelu, torch.prelu, Tensor.prelu]


@records(*_FUNCTIONS)
def prelu(uses: ParameterUses, input: Tensor, weight: Tensor) -> Tensor:
    if input.ndim < 2:  # the examples themselves are its channels
        return uses.leave(torch.prelu, input, weight)
    output = torch.prelu(input, uses.constant(weight))
    one = weight.numel() == 1
    rule: Rule = BroadcastParameter(weight.shape) if one else ChannelSum(scale=True)
    return uses.record(output, (weight, rule, (input.clamp(max=0),)))
