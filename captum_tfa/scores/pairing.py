"""Which test example goes with which training example.

A test batch of one goes with every training example; otherwise rows go with rows. Captum's
wrappers repeat rows (NoiseTunnel for its samples, IntegratedGradients for its steps) without
regard to that, so a batch whose rows are all the same counts as one example, however long it is.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

Inputs = Tensor | tuple[Tensor, ...]

_UNSIGNED = (torch.uint16, torch.uint32, torch.uint64)


def as_tensors(inputs: object, what: str, device: torch.device) -> tuple[Tensor, ...]:
    """The model's input tensors, each ``[B, ...]``, as a tuple.

    Args:
        inputs: a tensor, or a tuple or list of tensors for models with several inputs.
        what: what they are, for error messages.
        device: the model's device, on which they must be.

    Raises:
        TypeError: something else was given.
        ValueError: no rows, numbers of rows that differ, or another device.
    """
    tensors = tuple(inputs) if isinstance(inputs, tuple | list) else (inputs,)
    for tensor in tensors:
        if not isinstance(tensor, Tensor):
            raise TypeError(
                f"{what} must be a tensor or a tuple of tensors, not {type(tensor).__name__}."
            )
        if tensor.device != device:
            raise ValueError(
                f"{what} is on {tensor.device}, the model on {device}; move one of them, for "
                f"example with .to('{device}')."
            )
    if not tensors or any(tensor.ndim == 0 or len(tensor) == 0 for tensor in tensors):
        raise ValueError(f"{what} holds no example; its first dimension counts examples.")
    if len({len(tensor) for tensor in tensors}) > 1:
        sizes = ", ".join(str(len(tensor)) for tensor in tensors)
        raise ValueError(f"{what} has tensors of {sizes} rows; all must have the same number.")
    # Autograd cannot save tensors made in inference mode; copies it can.
    return tuple(tensor.clone() if tensor.is_inference() else tensor for tensor in tensors)


def as_labels(target: object, what: str, device: torch.device) -> Tensor | None:
    """Labels as a tensor ``[B, ...]`` on the model's device; a single number is one row.

    Raises:
        TypeError: no labels.
    """
    if target is None:
        return None
    if isinstance(target, Tensor):
        labels = (target.clone() if target.is_inference() else target).detach().to(device)
    else:
        try:
            labels = torch.tensor(target, device=device)
        except (TypeError, ValueError, RuntimeError) as error:
            raise TypeError(
                f"{what} is a {type(target).__name__}; give a tensor of labels, a number or a "
                "list of numbers."
            ) from error
    if labels.dtype in _UNSIGNED:  # torch computes next to nothing with these
        labels = labels.long()
    return labels.reshape(1) if labels.ndim == 0 else labels


def same_dimensions(test: Sequence[Tensor], train: Sequence[Tensor], what: str) -> None:
    """Refuse test images without the dimension that counts them.

    Raises:
        ValueError: test and training images differ in their number of dimensions or of inputs.
    """
    if len(test) != len(train):
        raise ValueError(
            f"{what} has {len(test)} tensors, the training side {len(train)}; both are inputs of "
            "the same model."
        )
    for one, other in zip(test, train, strict=True):
        if one.ndim != other.ndim:
            raise ValueError(
                f"{what} has shape {list(one.shape)}, training images have {list(other.shape)}: "
                f"{one.ndim} dimensions instead of {other.ndim}, the first of which counts "
                "examples. Give a single image as image.unsqueeze(0)."
            )


def matched(tensor: Tensor, batch: int, what: str, of: str = "training examples") -> Tensor:
    """The tensor with one row for each training example, as a view.

    Args:
        tensor: ``[B, ...]``, ``[1, ...]``, or any number of rows that are all the same.
        batch: ``B``.
        what: what it is, for the error message.
        of: what it must match, for the error message.

    Raises:
        ValueError: the rows match neither one nor ``B``.
    """
    if len(tensor) == batch:
        return tensor
    if len(tensor) == 1 or bool((tensor == tensor[:1]).all()):
        return tensor[:1].expand(batch, *tensor.shape[1:])
    raise ValueError(
        f"{what} has {len(tensor)} rows for {batch} {of}; give 1 row for all of "
        f"them, or {batch} rows, one for each."
    )


def labels_for(
    batch: int,
    target: object,
    what: str,
    device: torch.device,
    of: str = "training examples",
) -> Tensor | None:
    """Labels as a tensor with one row for each of ``batch`` examples, if there are labels.

    Raises:
        TypeError: no labels.
        ValueError: their rows match neither one nor ``batch``.
    """
    labels = as_labels(target, what, device)
    return None if labels is None else matched(labels, batch, what, of)


def label_rows(labels: Tensor | None, rows: Any) -> Tensor | None:
    """Rows of labels, if there are labels."""
    return None if labels is None else labels[rows]
