"""What an `attribute` call asks: inputs, the output that counts, further arguments, groups."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor


@dataclass(frozen=True)
class Question:
    """The arguments of one call, checked.

    Attributes:
        inputs: what is attributed, each ``[B, ...]``.
        target: which output counts, ``[B, D]``: the indices after the batch; ``None`` for the only
            one.
        additional: the model's further arguments.
        groups: for each input the group of each feature, ``[B, n]``, or ``None``: each its own.
        counts: for each input how many features or groups there are.
    """

    inputs: tuple[Tensor, ...]
    target: Tensor | None
    additional: tuple[Any, ...]
    groups: tuple[Tensor | None, ...]
    counts: tuple[int, ...]

    @property
    def batch(self) -> int:
        """How many rows there are, ``B``."""
        return len(self.inputs[0])

    def arguments(self, rows: Tensor) -> tuple[Any, ...]:
        """What the model is called with for these rows ``[k]``: copies, which it may write to."""
        others = (
            part[rows] if isinstance(part, Tensor) and part.shape[:1] == (self.batch,) else part
            for part in self.additional
        )
        return (*(tensor[rows] for tensor in self.inputs), *others)

    def chosen(self, outputs: object, rows: Tensor) -> Tensor:
        """The output that counts, ``[k]``, of what the model returned for these rows ``[k]``.

        Raises:
            TypeError: the model returned no tensor.
            ValueError: another number of rows or dimensions than the target asks for, or an index
                that there is not.
        """
        if not isinstance(outputs, Tensor):
            raise TypeError(
                f"The model returned a {type(outputs).__name__}; it must return a tensor: wrap it "
                "in a module that picks one."
            )
        if outputs.dim() == 0 or len(outputs) != len(rows):
            raise ValueError(
                f"The model returned {list(outputs.shape)} for {len(rows)} rows; it must keep one "
                "row for each input, [B, ...]."
            )
        sizes = outputs.shape[1:]
        if self.target is None:
            if sizes.numel() != 1:
                raise ValueError(
                    f"target is missing, and the model has outputs {list(sizes)} for each row; say "
                    "which one is explained."
                )
            return outputs.reshape(len(rows))
        if self.target.shape[1] != len(sizes):
            raise ValueError(
                f"target has {self.target.shape[1]} indices for each row, and the model's outputs "
                f"are {list(sizes)}; give one for each dimension after the batch."
            )
        limits = torch.tensor(sizes, device=self.target.device)
        if bool((self.target < 0).any()) or bool((self.target >= limits).any()):
            raise ValueError(
                f"target holds {self.target.tolist()}, but the model's outputs are {list(sizes)}; "
                "indices count from 0."
            )
        picked = self.target[rows].unbind(1)
        found: Tensor = outputs[(torch.arange(len(rows), device=outputs.device), *picked)]
        return found

    def grouped(self, number: int, values: Tensor, rows: Tensor) -> Tensor:
        """Sums ``[k, n_groups]`` of values ``[k, n]`` of one input's features in these rows."""
        groups = self.groups[number]
        if groups is None:
            return values
        groups = groups[rows]
        return values.new_zeros(len(values), self.counts[number]).scatter_add(1, groups, values)

    def spread(self, number: int, values: Tensor) -> Tensor:
        """Values ``[B, n_groups]`` at each of their features, in the shape of the input."""
        groups = self.groups[number]
        flat = values if groups is None else values.gather(1, groups)
        return flat.view(self.inputs[number].shape)


def question_of(
    inputs: object, target: object, additional: object, feature_mask: object, device: torch.device
) -> Question:
    """The arguments of a call, checked; see `XtrAIn.attribute`.

    Raises:
        TypeError: inputs, target or masks of the wrong type.
        ValueError: no rows, rows or shapes that do not match, another device.
    """
    given = tuple(inputs) if isinstance(inputs, tuple | list) else (inputs,)
    tensors = []
    for tensor in given:
        if not isinstance(tensor, Tensor):
            raise TypeError(f"inputs holds a {type(tensor).__name__}; give tensors [B, ...].")
        if not tensor.is_floating_point():
            raise TypeError(
                f"inputs holds a tensor of {tensor.dtype}; features must be floating point. Give "
                "words and class numbers as additional_forward_args."
            )
        if tensor.dim() < 2 or tensor.numel() == 0:
            raise ValueError(
                f"inputs holds a tensor {list(tensor.shape)}; each must be [B, ...] and not empty."
            )
        if tensor.device != device:
            raise ValueError(
                f"inputs lie on {tensor.device} and the model on {device}; move one of them."
            )
        tensors.append(tensor.detach())
    if not tensors:
        raise ValueError("inputs is empty; give at least one tensor [B, ...].")
    batch = len(tensors[0])
    if any(len(tensor) != batch for tensor in tensors):
        raise ValueError(
            f"inputs have {[len(tensor) for tensor in tensors]} rows; all need the same number."
        )
    others = additional if isinstance(additional, tuple) else (additional,)
    if additional is None:
        others = ()
    others = tuple(part.detach() if isinstance(part, Tensor) else part for part in others)
    groups, counts = _groups(feature_mask, tensors)
    return Question(tuple(tensors), _target(target, batch, device), others, groups, counts)


def _target(target: Any, batch: int, device: torch.device) -> Tensor | None:
    """Captum's ways to say which output counts, as ``[B, D]``."""
    if target is None:
        return None
    if isinstance(target, Tensor) and not target.is_floating_point():
        rows = target.reshape(-1, 1) if target.dim() < 2 else target
    else:
        listed = target if isinstance(target, list) else [target]
        try:
            rows = torch.tensor([one if isinstance(one, tuple) else (one,) for one in listed])
        except (TypeError, ValueError, RuntimeError) as error:
            raise TypeError(f"target is {target!r}; {_TARGETS}") from error
    if rows.is_floating_point() or rows.dtype == torch.bool or rows.dim() != 2:
        raise TypeError(f"target is {target!r}; {_TARGETS}")
    if len(rows) not in (1, batch):
        raise ValueError(f"target has {len(rows)} rows for {batch} inputs; {_TARGETS}")
    return rows.to(device, torch.long).expand(batch, -1)


_TARGETS = (
    "give a whole number, a tensor [B] or list of them, or tuples of them for more dimensions"
)


def _groups(masks: Any, inputs: list[Tensor]) -> tuple[tuple[Tensor | None, ...], tuple[int, ...]]:
    if masks is None:
        return (None,) * len(inputs), tuple(tensor[0].numel() for tensor in inputs)
    listed = tuple(masks) if isinstance(masks, tuple | list) else (masks,)
    if len(listed) != len(inputs):
        raise ValueError(f"{len(listed)} feature masks came for {len(inputs)} inputs.")
    groups, counts = [], []
    for mask, tensor in zip(listed, inputs, strict=True):
        if not isinstance(mask, Tensor) or mask.is_floating_point():
            raise TypeError("feature_mask must hold whole numbers: the group of each feature.")
        try:
            whole = mask.to(tensor.device).expand(tensor.shape)
        except RuntimeError as error:
            raise ValueError(
                f"feature_mask is {list(mask.shape)} and its input {list(tensor.shape)}; they must "
                "have the same shape, or the mask 1 where it is the same all along."
            ) from error
        names, places = whole.flatten(1).unique(return_inverse=True)
        groups.append(places)
        counts.append(len(names))
    return tuple(groups), tuple(counts)
