from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from captum_tfa import GradCosScore, GradDotScore
from tests.oracle import CLASSES, EXACT, SlowScore, assert_exact, cos, dot, relative_error


class WordsAndImage(nn.Module):
    """Words ``[B, *leading]`` looked up in a table, times an image ``[B, D]``."""

    def __init__(self, table: nn.Embedding) -> None:
        super().__init__()
        self.table = table
        nn.init.normal_(table.weight)  # also the row of padding
        self.out = nn.Linear(table.embedding_dim, CLASSES)

    def forward(self, image: Tensor, words: Tensor) -> Tensor:
        looked_up = self.table(words)
        looked_up = looked_up.flatten(1, -2).sum(1) if looked_up.ndim > 2 else looked_up
        return self.out((looked_up * image).tanh())


@given(
    leading=st.lists(st.integers(1, 3), max_size=2),
    padding=st.sampled_from([None, 0, 2, -1]),
    batch=st.integers(1, 4),
)
@settings(deadline=None, max_examples=25)
def test_any_embedding_is_exact(leading: list[int], padding: int | None, batch: int) -> None:
    model = WordsAndImage(nn.Embedding(5, 3, padding_idx=padding)).double().eval()
    image = torch.randn(batch, 3, dtype=torch.float64)
    words = torch.randint(0, 5, (batch, *leading))  # rows are looked up more than once
    test = torch.randn(1, 3, dtype=torch.float64), torch.randint(0, 5, (1, *leading))
    labels = torch.arange(batch) % CLASSES
    assert_exact(GradCosScore(model), SlowScore(model), (image, words), test, labels[:1], labels)


def test_score_of_words_alone_is_exact() -> None:
    # Integers have no map, but they have a score.
    model = nn.Sequential(nn.Embedding(7, 3), nn.Flatten(), nn.Linear(12, CLASSES)).double().eval()
    train, test = torch.randint(0, 7, (3, 4)), torch.randint(0, 7, (1, 4))
    labels = torch.tensor([0, 2, 4])
    for score, formula in ((GradCosScore(model), cos), (GradDotScore(model), dot)):
        given, right = (
            one(train, test, 1, labels) for one in (score, SlowScore(model, None, formula))
        )
        assert relative_error(given, right) < EXACT


def test_a_sparse_table_counts_as_a_dense_one() -> None:
    dense = WordsAndImage(nn.Embedding(5, 3)).double().eval()
    sparse = WordsAndImage(nn.Embedding(5, 3, sparse=True)).double().eval()
    sparse.load_state_dict(dense.state_dict())
    train = torch.randn(2, 3, dtype=torch.float64), torch.randint(0, 5, (2, 4))
    test = torch.randn(1, 3, dtype=torch.float64), torch.randint(0, 5, (1, 4))
    expected = GradDotScore(dense)(train, test, 1, 0)
    torch.testing.assert_close(GradDotScore(sparse)(train, test, 1, 0), expected)


class Functional(nn.Module):
    def __init__(self, **options: object) -> None:
        super().__init__()
        self.table = nn.Parameter(torch.randn(5, 3))
        self.options = options
        self.out = nn.Linear(3, CLASSES)

    def forward(self, words: Tensor) -> Tensor:
        return self.out(F.embedding(words, self.table, **self.options).sum(1))


@pytest.mark.parametrize("options", [{"max_norm": 1.0}, {"scale_grad_by_freq": True}])
def test_options_that_couple_examples_are_refused(options: dict[str, object]) -> None:
    words = torch.randint(0, 5, (2, 4))
    with pytest.raises(ValueError, match="max_norm=None and scale_grad_by_freq=False"):
        GradCosScore(Functional(**options))(words, words)


def test_coupling_options_do_not_matter_where_the_table_does_not_count() -> None:
    model = Functional(scale_grad_by_freq=True).double()
    words, test = torch.randint(0, 5, (2, 4)), torch.randint(0, 5, (1, 4))
    given = GradCosScore(model, parameters=["out"])(words, test, 1, 0)
    right = SlowScore(model, parameters=lambda name: name.startswith("out."))(words, test, 1, 0)
    assert relative_error(given, right) < EXACT
