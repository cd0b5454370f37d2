"""Batch normalisation in evaluation mode and instance normalisation, made of sums and products.

On a CPU, torch computes the backward pass of the fused function wrongly for one example with
transposed gradients, and for instances; an oracle must not.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from unittest import mock

import torch
import torch.nn.functional as F
from torch import Tensor

_fused = F.batch_norm


def _decomposed(
    input: Tensor,
    running_mean: Tensor | None,
    running_var: Tensor | None,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    training: bool = False,
    momentum: float = 0.1,
    eps: float = 1e-5,
) -> Tensor:
    if training:  # of a weight, as weight standardisation does
        return _fused(input, running_mean, running_var, weight, bias, True, momentum, eps)
    assert running_mean is not None
    assert running_var is not None
    shape = (1, -1, *(1,) * (input.ndim - 2))
    output = (input - running_mean.view(shape)) * torch.rsqrt(running_var + eps).view(shape)
    output = output if weight is None else output * weight.view(shape)
    return output if bias is None else output + bias.view(shape)


def _of_instances(
    input: Tensor,
    running_mean: Tensor | None = None,
    running_var: Tensor | None = None,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    use_input_stats: bool = True,
    momentum: float = 0.1,
    eps: float = 1e-5,
) -> Tensor:
    if not use_input_stats:
        return _decomposed(input, running_mean, running_var, weight, bias, eps=eps)
    flat = input.flatten(2)
    centred = flat - flat.mean(2, keepdim=True)
    output = centred / (centred.square().mean(2, keepdim=True) + eps).sqrt()
    output = output if weight is None else output * weight[:, None]
    output = output if bias is None else output + bias[:, None]
    return output.view(input.shape)


@contextmanager
def decomposed_batch_norm() -> Iterator[Any]:
    """Inside, both are computed so."""
    with (
        mock.patch.object(F, "batch_norm", _decomposed),
        mock.patch.object(F, "instance_norm", _of_instances),
    ):
        yield
