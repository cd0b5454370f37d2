from __future__ import annotations

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from tests.oracle import assert_layer_exact


class Attention(nn.Module):
    """Self-attention with any settings; the mask is float, boolean or absent."""

    def __init__(self, mask: str, weights: bool, average: bool, **options: Any) -> None:
        super().__init__()
        self.attention = nn.MultiheadAttention(**options)
        self.mask, self.weights, self.average = mask, weights, average

    def forward(self, input: Tensor) -> Tensor:
        tokens = input if self.attention.batch_first else input.transpose(0, 1)
        later = torch.ones(input.shape[1], input.shape[1]).triu(1).bool()
        mask = {
            "none": None,
            "boolean": later,
            "float": torch.zeros(later.shape).masked_fill(later, -1.5).to(input.dtype),
        }[self.mask]
        attended, weights = self.attention(
            tokens,
            tokens.flip(-1),
            tokens.tanh(),
            need_weights=self.weights,
            average_attn_weights=self.average,
            attn_mask=mask,
        )
        attended = attended if self.attention.batch_first else attended.transpose(0, 1)
        if weights is not None:
            attended = attended * weights.flatten(1).square().sum(1)[:, None, None]
        return attended


@given(
    heads=st.integers(1, 2),
    mask=st.sampled_from(["none", "boolean", "float"]),
    weights=st.booleans(),
    average=st.booleans(),
    bias=st.booleans(),
    add_bias_kv=st.booleans(),
    add_zero_attn=st.booleans(),
    batch_first=st.booleans(),
    batch=st.integers(1, 3),
)
@settings(deadline=None, max_examples=25)
def test_any_attention_layer_is_exact(
    heads: int, mask: str, weights: bool, average: bool, batch: int, **options: bool
) -> None:
    layer = Attention(mask, weights, average, embed_dim=4, num_heads=heads, **options)
    assert_layer_exact(layer, [3, 4], batch)


class Kernel(nn.Module):
    """Attention by the plain function, from 3 queries to 4 keys."""

    def __init__(self, options: dict[str, Any]) -> None:
        super().__init__()
        self.queries = nn.Linear(4, 4)
        self.keys = nn.Linear(4, 2 if options.get("enable_gqa") else 4)
        self.options = options

    def forward(self, input: Tensor) -> Tensor:
        queries = self.queries(input[:, :3]).unflatten(2, (-1, 2)).transpose(1, 2)
        keys = self.keys(input).unflatten(2, (-1, 2)).transpose(1, 2)
        return F.scaled_dot_product_attention(queries, keys, keys.tanh(), **self.options)


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"scale": 0.3},
        {"is_causal": True},
        {"enable_gqa": True},
        {"attn_mask": torch.eye(3, 4).bool()},
        {"attn_mask": torch.linspace(-1, 1, 4, dtype=torch.float64)[None]},
        {"attn_mask": torch.tensor([[[True] * 4, [True] * 4, [True, False, True, False]]])},
    ],
    ids=["plain", "scale", "causal", "grouped", "boolean", "float", "broadcast"],
)
def test_attention_function_is_exact(options: dict[str, Any]) -> None:
    assert_layer_exact(Kernel(options), [4, 4], batch=2)


def test_a_query_that_may_look_nowhere_gives_zero_as_in_torch() -> None:
    mask = torch.ones(3, 4, dtype=torch.bool)
    mask[1] = False
    assert_layer_exact(Kernel({"attn_mask": mask}), [4, 4], batch=2)
