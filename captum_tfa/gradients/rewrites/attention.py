"""Attention: torch's fused kernels have no second derivative; the written-out formula has.

The projections of ``nn.MultiheadAttention`` are linear maps and are recorded as such.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from captum_tfa.gradients.registry import rewrites


@rewrites(F.scaled_dot_product_attention)
def scaled_dot_product_attention(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attn_mask: Tensor | None = None,
    dropout_p: float = 0.0,
    is_causal: bool = False,
    scale: float | None = None,
    enable_gqa: bool = False,
) -> Tensor:
    """``softmax(scale · Q Kᵀ + mask) V``."""
    if enable_gqa:
        heads = query.shape[-3]
        key = key.repeat_interleave(heads // key.shape[-3], -3)
        value = value.repeat_interleave(heads // value.shape[-3], -3)
    scores = query @ key.transpose(-2, -1) * (scale or 1 / math.sqrt(query.shape[-1]))
    if is_causal:
        attn_mask = torch.ones(scores.shape[-2:], dtype=torch.bool, device=scores.device).tril()
    if attn_mask is not None and attn_mask.dtype != torch.bool:
        scores = scores + attn_mask
    blocked = scores.detach().isneginf()
    if attn_mask is not None and attn_mask.dtype == torch.bool:
        blocked = blocked | ~attn_mask
    nowhere = blocked.all(-1, keepdim=True)  # a query that may look nowhere sees zeros
    scores = scores.masked_fill(blocked & ~nowhere, -torch.inf).masked_fill(nowhere, 0)
    weights = scores.softmax(-1).masked_fill(nowhere, 0)
    return F.dropout(weights, dropout_p) @ value
