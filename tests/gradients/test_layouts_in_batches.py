"""Whose a position is must be right for every batch, whatever batches came before."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from captum_tfa import GradCosScore
from tests.oracle import CLASSES, NETS, SlowScore, assert_exact

LABELS = torch.tensor([0, 3, 1])
TEST_LABEL = torch.tensor([2])


def _random(*shape: int) -> Tensor:
    return torch.randn(*shape, dtype=torch.float64)


def _assert_exact(score: GradCosScore, train: Tensor, labels: Tensor = LABELS) -> None:
    test = _random(1, *train.shape[1:])
    labels = labels[: len(train)]
    assert_exact(score, SlowScore(score.model), train, test, TEST_LABEL, labels)


@pytest.mark.parametrize(
    "name",
    [
        "sequence first, one token read",
        "embedding of positions",
        "network of positions",
        "windows folded into the batch",
        "encoder and decoder",
        "module called with two layouts",
        "raw parameters",
    ],
)
def test_batches_of_any_size_in_any_order(name: str) -> None:
    case = NETS[name]
    score = GradCosScore(case.model())
    # 3, 4 and 6 are also numbers of tokens of these nets.
    for batch in (1, 3, 2, 6, 4, 1, 3):
        train = case.inputs(batch, seed=batch)[0]
        _assert_exact(score, train, torch.arange(batch) % CLASSES)


class Ragged(nn.Module):
    """Packs the tokens that are no padding (first feature above -5) before a linear layer."""

    def __init__(self, way: str) -> None:
        super().__init__()
        self.packed = nn.Linear(4, 4)
        self.out = nn.Linear(4, CLASSES)
        self.way = way

    def forward(self, input: Tensor) -> Tensor:
        real = input[..., 0] > -5
        if self.way == "packed sequence":
            lengths = real.sum(1)
            packed = pack_padded_sequence(input, lengths, batch_first=True, enforce_sorted=False)
            packed = packed._replace(data=self.packed(packed.data).tanh())
            unpacked, _ = pad_packed_sequence(packed, batch_first=True)
            return self.out(unpacked.sum(1))
        unpacked = torch.zeros_like(input)
        if self.way == "mask":
            unpacked[real] = self.packed(input[real]).tanh()
        elif self.way == "nonzero":
            rows, tokens = real.nonzero(as_tuple=True)
            unpacked[rows, tokens] = self.packed(input[rows, tokens]).tanh()
        else:
            chosen = input.masked_select(real[..., None]).reshape(-1, 4)
            hidden = self.packed(chosen).tanh()
            unpacked = unpacked.masked_scatter(real[..., None], hidden)
        return self.out(unpacked.sum(1))


def _of_lengths(*lengths: int) -> Tensor:
    tokens = _random(len(lengths), 4, 4)
    for row, length in enumerate(lengths):
        tokens[row, length:, 0] = -9
    return tokens


@pytest.mark.parametrize("way", ["mask", "nonzero", "masked_select", "packed sequence"])
def test_ragged_examples_after_examples_of_equal_lengths(way: str) -> None:
    score = GradCosScore(Ragged(way).double().eval())
    # Every batch packs four tokens, each time with other owners.
    for lengths in ((2, 2), (1, 3), (3, 1), (2, 2)):
        _assert_exact(score, _of_lengths(*lengths))


class Codebook(nn.Module):
    """A network makes one code a class; the image's first feature says which one it takes."""

    def __init__(self, way: str) -> None:
        super().__init__()
        self.codes = nn.Linear(2, 4)
        self.register_buffer("grid", torch.randn(3, 2))
        self.out = nn.Linear(4, CLASSES)
        self.way = way

    def forward(self, input: Tensor) -> Tensor:
        codes = self.codes(self.grid).tanh()
        wanted = input[:, 0].long()
        choice = (wanted[:, None] == torch.arange(3)).to(codes.dtype)
        taken = {
            "index": lambda: codes[wanted],
            "index_select": lambda: codes.index_select(0, wanted),
            "gather": lambda: codes.gather(0, wanted[:, None].expand(-1, 4)),
            "embedding": lambda: F.embedding(wanted, codes),
            "one-hot product": lambda: choice @ codes,
            "einsum": lambda: torch.einsum("bk,kd->bd", choice, codes),
            "masked sum": lambda: (choice[..., None] * codes).sum(1),
            "where": lambda: torch.where(choice[..., None] > 0, codes, 0).sum(1),
            "masked_fill": lambda: (
                codes.expand(len(input), 3, 4).masked_fill(choice[..., None] == 0, 0).sum(1)
            ),
            "hard attention": lambda: F.scaled_dot_product_attention(
                1e4 * choice[None], torch.eye(3, dtype=codes.dtype)[None], codes[None]
            )[0],
        }[self.way]()
        return self.out((taken * input).tanh())


@pytest.mark.parametrize(
    "way",
    [
        "index",
        "index_select",
        "gather",
        "embedding",
        "one-hot product",
        "einsum",
        "masked sum",
        "where",
        "masked_fill",
        "hard attention",
    ],
)
@pytest.mark.parametrize("loss", [None, lambda outputs, targets: (outputs - targets).square()])
def test_codes_taken_in_order_and_then_out_of_order(way: str, loss: Any) -> None:
    model = Codebook(way).double().eval()
    labels = LABELS if loss is None else F.one_hot(LABELS, CLASSES).double()
    score, slow = GradCosScore(model, loss), SlowScore(model, loss)
    for order in ((0, 1, 2), (2, 0, 1), (1, 1, 0)):
        train, test = _random(3, 4), _random(1, 4)
        train[:, 0] = torch.tensor(order) + 0.5
        test[:, 0] = 0.5
        assert_exact(score, slow, train, test, labels[:1], labels)


@pytest.mark.parametrize("confidence", [20, 60, 90])
def test_one_misfit_among_well_fitted_examples(confidence: float) -> None:
    # The deltas of the fitted examples are far below those of the misfit, but they decide about
    # the fitted examples' own cosines.
    model = NETS["sequence first, one token read"].model()
    train = _random(3, 3, 4)
    with torch.no_grad():
        model.out.weight.mul_(confidence)
        labels = model(train).argmax(1)
    labels[0] = (labels[0] + 1) % CLASSES
    score = GradCosScore(model)
    _assert_exact(score, train, labels)
    with torch.no_grad():
        model.out.weight.div_(confidence)
    _assert_exact(score, _random(3, 3, 4))


def test_examples_without_gradient_before_ordinary_ones() -> None:
    model = NETS["sequence first, one token read"].model()
    with torch.no_grad():
        model.out.weight.mul_(1e4)  # every example is fitted perfectly
        train = _random(3, 3, 4)
        labels = model(train).argmax(1)
    score = GradCosScore(model)
    with pytest.warns(UserWarning, match="gradient of zero"):
        assert not bool(score(train, train[:1], labels[:1], labels).any())
    with torch.no_grad():
        model.out.weight.mul_(1e-4)
    _assert_exact(score, _random(3, 3, 4))


class Switched(nn.Module):
    """Works with the batch or with the sequence first, as an attribute says."""

    def __init__(self) -> None:
        super().__init__()
        self.batch_first = True
        self.layer = nn.Linear(4, 4)
        self.out = nn.Linear(4, CLASSES)

    def forward(self, input: Tensor) -> Tensor:
        if self.batch_first:
            return self.out(self.layer(input).tanh().sum(1))
        return self.out(self.layer(input.transpose(0, 1)).tanh().sum(0))


def test_layout_that_changes_with_an_attribute() -> None:
    model = Switched().double().eval()
    score, train = GradCosScore(model), _random(3, 3, 4)
    for batch_first in (True, False, True):
        model.batch_first = batch_first
        _assert_exact(score, train)


def test_large_batches() -> None:
    score = GradCosScore(NETS["sequence first, one token read"].model())
    _assert_exact(score, _random(70, 3, 4), torch.arange(70) % CLASSES)
