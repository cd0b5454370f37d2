"""The hard sigmoid has no second derivative in torch; ``relu6(x + 3) / 6`` is the same function."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor

from captum_tfa.gradients.registry import rewrites


@rewrites(F.hardsigmoid)
def hardsigmoid(input: Tensor, inplace: bool = False) -> Tensor:
    output = F.relu6(input + 3) / 6
    return input.copy_(output) if inplace else output
