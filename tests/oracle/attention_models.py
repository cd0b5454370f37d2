"""Small nets with attention, and recurrent ones."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from tests.oracle.cases import CLASSES, Case, head

WIDTH, TOKENS = 4, 3


class SelfAttention(nn.Module):
    """Attention of tokens ``[B, T, D]`` to each other."""

    def __init__(self, need_weights: bool = False, causal: bool = False, **options: Any) -> None:
        super().__init__()
        self.need_weights, self.causal = need_weights, causal
        self.attention = nn.MultiheadAttention(WIDTH, 2, **options)
        self.out = head(TOKENS * WIDTH)

    def forward(self, input: Tensor) -> Tensor:
        if not self.attention.batch_first:
            input = input.transpose(0, 1)
        mask = nn.Transformer.generate_square_subsequent_mask(TOKENS, dtype=input.dtype)
        attended, weights = self.attention(
            input,
            input,
            input,
            need_weights=self.need_weights,
            attn_mask=mask if self.causal else None,
        )
        if not self.attention.batch_first:
            attended = attended.transpose(0, 1)
        if self.need_weights:
            attended = attended * (1 + weights.sum(1).square().sum(1)[:, None, None])
        return self.out(attended.tanh())


class CrossAttention(nn.Module):
    """Attention of learned queries to tokens of another width; the last token is padding."""

    def __init__(self, batch_first: bool) -> None:
        super().__init__()
        self.queries = nn.Parameter(torch.randn(2, WIDTH))
        self.attention = nn.MultiheadAttention(
            WIDTH, 2, kdim=5, vdim=6, add_bias_kv=True, add_zero_attn=True, batch_first=batch_first
        )
        self.values = nn.Linear(5, 6)
        self.out = head(2 * WIDTH)

    def forward(self, input: Tensor) -> Tensor:
        queries = self.queries.unsqueeze(0).expand(len(input), -1, -1)
        keys, values = input, self.values(input)
        padding = torch.zeros(input.shape[:2], dtype=torch.bool)
        padding[:, -1] = True
        if not self.attention.batch_first:
            queries, keys, values = (part.transpose(0, 1) for part in (queries, keys, values))
        attended, _ = self.attention(
            queries, keys, values, key_padding_mask=padding, need_weights=False
        )
        if not self.attention.batch_first:
            attended = attended.transpose(0, 1)
        return self.out(attended.tanh())


class EncoderDecoder(nn.Module):
    """A decoder layer that reads what an encoder layer made of the image, sequence first."""

    def __init__(self) -> None:
        super().__init__()
        self.encoder = nn.TransformerEncoderLayer(WIDTH, 2, 6, dropout=0.1)
        self.decoder = nn.TransformerDecoderLayer(WIDTH, 2, 6, activation="gelu")
        self.start = nn.Parameter(torch.randn(2, 1, WIDTH))
        self.out = head(2 * WIDTH)

    def forward(self, input: Tensor) -> Tensor:
        memory = self.encoder(input.transpose(0, 1))
        decoded = self.decoder(self.start.repeat(1, len(input), 1), memory)
        return self.out(decoded.transpose(0, 1))


class Encoder(nn.Module):
    """A stack of two encoder layers."""

    def __init__(self) -> None:
        super().__init__()
        layer = nn.TransformerEncoderLayer(WIDTH, 2, 6, batch_first=True)
        self.encoder = nn.TransformerEncoder(layer, 2, norm=nn.LayerNorm(WIDTH))
        self.out = head(TOKENS * WIDTH)

    def forward(self, input: Tensor) -> Tensor:
        return self.out(self.encoder(input))


class Recurrent(nn.Module):
    """A recurrent layer over ``[B, T, D]`` and a classifier of its last state."""

    def __init__(self, kind: type[nn.RNNBase], **options: Any) -> None:
        super().__init__()
        self.recurrent = kind(WIDTH, 3, **options)
        self.out = nn.Linear(3 * (1 + self.recurrent.bidirectional), CLASSES)

    def forward(self, input: Tensor) -> Tensor:
        if self.recurrent.batch_first:
            return self.out(self.recurrent(input)[0][:, -1])
        return self.out(self.recurrent(input.transpose(0, 1))[0][-1])


class Cells(nn.Module):
    """A cell called once for every time step."""

    def __init__(self, kind: type[nn.RNNCellBase]) -> None:
        super().__init__()
        self.cell = kind(WIDTH, 3)
        self.out = nn.Linear(3, CLASSES)

    def forward(self, input: Tensor) -> Tensor:
        state: Any = None
        for step in input.unbind(1):
            state = self.cell(step, state)
        return self.out(state[0] if isinstance(state, tuple) else state)


def _tokens(make: Any, width: int = WIDTH) -> Case:
    return Case(make, ((TOKENS, width),))


ATTENTION_NETS: dict[str, Case] = {
    "attention": _tokens(lambda: SelfAttention(batch_first=True)),
    "attention with the sequence first": _tokens(lambda: SelfAttention()),
    "attention with weights": _tokens(lambda: SelfAttention(need_weights=True, batch_first=True)),
    "causal attention without bias": _tokens(
        lambda: SelfAttention(causal=True, bias=False, batch_first=True)
    ),
    "cross-attention": _tokens(lambda: CrossAttention(batch_first=True), 5),
    "cross-attention with the sequence first": _tokens(lambda: CrossAttention(False), 5),
    "encoder layer": _tokens(
        lambda: nn.Sequential(
            nn.TransformerEncoderLayer(WIDTH, 2, 6, batch_first=True, norm_first=True), *head(12)
        )
    ),
    "encoder": _tokens(Encoder),
    "encoder and decoder": _tokens(EncoderDecoder),
}

RECURRENT_NETS: dict[str, Case] = {
    "rnn": _tokens(lambda: Recurrent(nn.RNN, batch_first=True)),
    "lstm": _tokens(lambda: Recurrent(nn.LSTM, num_layers=2, bidirectional=True)),
    "gru": _tokens(lambda: Recurrent(nn.GRU, batch_first=True, bias=False)),
    "lstm cell": _tokens(lambda: Cells(nn.LSTMCell)),
    "gru cell": _tokens(lambda: Cells(nn.GRUCell)),
}
