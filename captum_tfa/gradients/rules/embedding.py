"""Embeddings: a row of the table has as gradient the sum of the deltas where it was looked up."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor

from captum_tfa.gradients.registry import records
from captum_tfa.gradients.rule import Rule
from captum_tfa.gradients.uses import ParameterUses


class EmbeddingWeight(Rule):
    """Table ``[V, D]`` looked up at ``[B, T]`` indices, with deltas ``[B, T, D]``."""

    leading = -1

    def __init__(self, rows: int, padding_idx: int | None) -> None:
        self.rows = rows
        self.padding = None if padding_idx is None else padding_idx % rows

    def gradient(self, inputs: tuple[Tensor, ...], delta: Tensor) -> Tensor:
        indices = inputs[0]
        if self.padding is not None:
            delta = delta * (indices != self.padding).unsqueeze(-1)
        table = delta.new_zeros(len(delta), self.rows, delta.shape[-1])
        return table.scatter_add(1, indices.unsqueeze(-1).expand_as(delta), delta)


@records(F.embedding)
def embedding(
    uses: ParameterUses,
    input: Tensor,
    weight: Tensor,
    padding_idx: int | None = None,
    max_norm: float | None = None,
    norm_type: float = 2.0,
    scale_grad_by_freq: bool = False,
    sparse: bool = False,
) -> Tensor:
    if not uses.counts(weight):
        return uses.leave(
            F.embedding, input, weight, padding_idx, max_norm, norm_type, scale_grad_by_freq, sparse
        )
    if max_norm is not None or scale_grad_by_freq:
        raise ValueError(
            "An embedding with max_norm or scale_grad_by_freq has no parameter gradient of one "
            "example: the first rewrites its table in the forward pass, the second counts "
            "indices over the batch. Set max_norm=None and scale_grad_by_freq=False, or leave "
            "the table out with `parameters=`."
        )
    output = F.embedding(input, uses.constant(weight), padding_idx)
    return uses.record(output, (weight, EmbeddingWeight(len(weight), padding_idx), (input,)))
