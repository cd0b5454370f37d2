"""Vectors of all parameters as rows of one matrix, and back."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor


def flattened(vectors: Mapping[str, Tensor]) -> Tensor:
    """``[M, P]`` from tensors ``[M, *parameter.shape]``."""
    return torch.cat([vector.flatten(1) for vector in vectors.values()], 1)


def by_parameter(flat: Tensor, like: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Tensors ``[M, *parameter.shape]``, shaped as those in ``like``, from ``[M, P]``."""
    parts = flat.split([vector[0].numel() for vector in like.values()], 1)
    return {
        name: part.reshape(vector.shape)
        for (name, vector), part in zip(like.items(), parts, strict=True)
    }
