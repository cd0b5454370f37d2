"""What an image without content looks like: the baselines of the maps that compare with one."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

Baselines = Tensor | float | tuple[Tensor | float, ...] | None
"""Captum's: for each input a number, ``[1, ...]`` or as many rows as the input; ``None`` is 0."""


def like_inputs(baselines: Baselines, inputs: Sequence[Tensor]) -> tuple[Tensor, ...]:
    """Baselines of the shapes, types and devices of the inputs.

    Raises:
        TypeError: a baseline is neither a number nor a tensor.
        ValueError: as many baselines as inputs did not come, or one is of another shape.
    """
    given = baselines if isinstance(baselines, tuple | list) else (baselines,) * len(inputs)
    if len(given) != len(inputs) or (isinstance(baselines, Tensor) and len(inputs) > 1):
        count = 1 if isinstance(baselines, Tensor) else len(given)
        raise ValueError(
            f"baselines holds {count}, and the model takes {len(inputs)} inputs; give a tuple with "
            "a number or a tensor for each, or None for zeros."
        )
    return tuple(_like(one, tensor) for one, tensor in zip(given, inputs, strict=True))


def _like(baseline: object, tensor: Tensor) -> Tensor:
    if baseline is None:
        return torch.zeros_like(tensor)
    if isinstance(baseline, int | float):
        return torch.full_like(tensor, baseline)
    if not isinstance(baseline, Tensor):
        raise TypeError(
            f"A baseline is a {type(baseline).__name__}; give a number or a tensor, such as the "
            "mean colour of the training set."
        )
    fits = baseline.shape[1:] == tensor.shape[1:] and len(baseline) in (1, len(tensor))
    if baseline.ndim != tensor.ndim or not fits:
        raise ValueError(
            f"A baseline has the shape {list(baseline.shape)}, its input {list(tensor.shape)}; "
            "give as many rows or 1, and otherwise the same shape."
        )
    return baseline.detach().to(tensor).expand_as(tensor)
