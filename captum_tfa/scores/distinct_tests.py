"""Which of many test examples are the same one?  Each then has one gradient.

Captum's wrappers repeat the test image for each noisy copy or step. So that neither its gradient is
computed again nor its content is looked at again, the rows of a call are compared once, and known
by number from then on.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from captum_tfa.gradients import StoredGradients
from captum_tfa.scores.pairing import label_rows

# Whole numbers of a type's size, to compare bit by bit.
_BITS = {1: torch.uint8, 2: torch.int16, 4: torch.int32, 8: torch.int64}


class DistinctTests:
    """The distinct ones among test examples.

    Args:
        images: the model's input tensors, each ``[B, ...]``.
        labels: their labels ``[B, ...]``, or ``None``.

    Attributes:
        rows: which distinct example each row is, ``B`` numbers below ``D``.
        images: the distinct examples, each tensor ``[D, ...]``.
        labels: their labels ``[D, ...]``, or ``None``.
        known: the gradients of those that were asked for last. Only valid for one score, and as
            long as its model does not change.
    """

    def __init__(self, images: Sequence[Tensor], labels: Tensor | None) -> None:
        first, self.rows = distinct([*images] if labels is None else [*images, labels])
        self.images = tuple(tensor.detach()[first] for tensor in images)
        self.labels = label_rows(labels, first)
        self.known: dict[int, StoredGradients] = {}

    def of_another_score(self) -> DistinctTests:
        """The same examples, of which no gradient is known."""
        same = object.__new__(DistinctTests)
        same.__dict__.update(self.__dict__, known={})
        return same


def distinct(columns: Sequence[Tensor]) -> tuple[list[int], list[int]]:
    """The distinct rows among rows that are made of several tensors.

    Args:
        columns: tensors with the same number of rows.

    Returns:
        Where each distinct row stands first; and for every row, which distinct row it is.
    """
    heads = _heads(columns)
    contents = [b"".join(row) for row in zip(*(_bytes(column[heads]) for column in columns))]  # noqa: B905
    number: dict[bytes, int] = {}
    first: list[int] = []
    rows: list[int] = []
    ends = [*heads[1:], len(columns[0])]
    for head, end, content in zip(heads, ends, contents, strict=True):
        if content not in number:
            number[content] = len(first)
            first.append(head)
        rows += [number[content]] * (end - head)
    return first, rows


def _heads(columns: Sequence[Tensor]) -> list[int]:
    """The rows that differ from the one before them; repeats mostly stand side by side."""
    differs = torch.zeros(len(columns[0]), dtype=torch.bool, device=columns[0].device)
    differs[0] = True
    for column in columns:
        if len(column) > 1 and column.stride(0) != 0:
            bits = _bits(column)
            differs[1:] |= (bits[1:] != bits[:-1]).flatten(1).any(1)
    heads: list[int] = differs.nonzero().flatten().tolist()
    return heads


def _bits(column: Tensor) -> Tensor:
    flat = column.detach().reshape(len(column), -1).contiguous()
    if flat.is_complex():
        flat = torch.view_as_real(flat).flatten(1)
    return flat.view(_BITS[flat.element_size()])


def _bytes(column: Tensor) -> list[bytes]:
    return [row.numpy().tobytes() for row in _bits(column).cpu()]
