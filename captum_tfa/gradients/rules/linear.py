"""Linear layers, with any leading dimensions: ``g_W = Σ_t δ_t a_tᵀ``, ``g_b = Σ_t δ_t``."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor

from captum_tfa.gradients.gram import GramRule
from captum_tfa.gradients.registry import records
from captum_tfa.gradients.rules.sums import LastDimensionsSum
from captum_tfa.gradients.uses import ParameterUses


class LinearWeight(GramRule):
    """Weight ``[O, K]`` of a linear map from activations ``[B, T, K]`` to deltas ``[B, T, O]``."""

    leading = -1

    def gradient(self, inputs: tuple[Tensor, ...], delta: Tensor) -> Tensor:
        return delta.transpose(1, 2) @ inputs[0]

    def sizes(self, inputs: tuple[Tensor, ...], delta: Tensor) -> tuple[int, int, int]:
        return delta.shape[1], inputs[0].shape[2], delta.shape[2]

    def activations(self, input: Tensor) -> Tensor:
        return input.unsqueeze(1)

    def applied(self, input: Tensor, weight: Tensor) -> Tensor:
        return input @ weight.mT

    def deltas(self, delta: Tensor) -> Tensor:
        return delta.unsqueeze(1)


@records(F.linear)
def linear(
    uses: ParameterUses, input: Tensor, weight: Tensor, bias: Tensor | None = None
) -> Tensor:
    output = F.linear(input, uses.constant(weight), uses.constant(bias))
    return uses.record(
        output,
        (weight, LinearWeight(), (input,)),
        (bias, LastDimensionsSum(1, scale=False), ()),
    )
