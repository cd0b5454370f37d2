"""Layer normalisation: with the normalised activation ``x̂``, ``g_w = Σ δ x̂``, ``g_b = Σ δ``."""

from __future__ import annotations

from collections.abc import Sequence

import torch.nn.functional as F
from torch import Tensor

from captum_tfa.gradients.registry import records
from captum_tfa.gradients.rules.sums import LastDimensionsSum
from captum_tfa.gradients.uses import ParameterUses


@records(F.layer_norm)
def layer_norm(
    uses: ParameterUses,
    input: Tensor,
    normalized_shape: Sequence[int],
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    eps: float = 1e-5,
) -> Tensor:
    normalized = F.layer_norm(input, normalized_shape, eps=eps)
    return affine(uses, normalized, weight, bias, len(normalized_shape))


def affine(
    uses: ParameterUses,
    normalized: Tensor,
    weight: Tensor | None,
    bias: Tensor | None,
    dimensions: int,
) -> Tensor:
    """``normalized · weight + bias`` over the last dimensions, recorded."""
    output = normalized
    if weight is not None:
        output = output * uses.constant(weight)
    if bias is not None:
        output = output + uses.constant(bias)
    return uses.record(
        output,
        (weight, LastDimensionsSum(dimensions, scale=True), (normalized,)),
        (bias, LastDimensionsSum(dimensions, scale=False), ()),
    )
