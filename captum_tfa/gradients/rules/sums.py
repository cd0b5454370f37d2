"""Gradients that are sums over positions: biases, and scales of normalised activations."""

from __future__ import annotations

import torch
from torch import Tensor

from captum_tfa.gradients.rule import Rule


class LastDimensionsSum(Rule):
    """A parameter with the shape of the output's last dimensions that is added to it.

    With an activation (``scale=True``) the parameter multiplies that activation instead:
    ``g = Σ_positions δ · a``; without, ``g = Σ_positions δ``.
    """

    def __init__(self, dimensions: int, scale: bool) -> None:
        self.leading = -dimensions
        self.scale = scale

    def gradient(self, inputs: tuple[Tensor, ...], delta: Tensor) -> Tensor:
        if self.scale:
            delta = delta * inputs[0]
        return delta.sum(1)


class ChannelSum(Rule):
    """A parameter with one number a channel, where channels are dimension 1 of ``[N, C, ...]``.

    ``g_c = Σ δ_c · a_c`` with an activation (``scale=True``), ``g_c = Σ δ_c`` without.
    """

    leading = 1

    def __init__(self, scale: bool) -> None:
        self.scale = scale

    def gradient(self, inputs: tuple[Tensor, ...], delta: Tensor) -> Tensor:
        if self.scale:
            delta = delta * inputs[0]
        return delta.flatten(3).sum((1, 3)) if delta.ndim > 3 else delta.sum(1)


def standardised(input: Tensor, dimensions: tuple[int, ...], eps: float) -> Tensor:
    """The input with mean 0 and variance 1 over some dimensions."""
    variance, mean = torch.var_mean(input, dimensions, correction=0, keepdim=True)
    normalised: Tensor = (input - mean) * torch.rsqrt(variance + eps)
    return normalised
