"""Root mean square normalisation: with ``x̂ = x / sqrt(mean(x²) + ε)``, ``g_w = Σ δ x̂``."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from captum_tfa.gradients.registry import records
from captum_tfa.gradients.rules.layer_norm import affine
from captum_tfa.gradients.uses import ParameterUses

_FUNCTIONS: list[Any] = [F.rms_norm, torch.rms_norm]


@records(*_FUNCTIONS)
def rms_norm(
    uses: ParameterUses,
    input: Tensor,
    normalized_shape: Sequence[int],
    weight: Tensor | None = None,
    eps: float | None = None,
) -> Tensor:
    normalized = F.rms_norm(input, normalized_shape, eps=eps)
    return affine(uses, normalized, weight, None, len(normalized_shape))
