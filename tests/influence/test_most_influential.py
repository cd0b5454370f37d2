"""The ``k`` most influential training examples: the best of all scores, in bounded memory."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch
from captum.influence._core.tracincp import KMostInfluentialResults
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.data import IterableDataset, TensorDataset

from captum_tfa import GradCosScore, GradDotScore, ScoreInfluence
from tests.influence.tiny_sets import (
    TEST_LABELS,
    TESTS,
    WholeNumbers,
    linear_and_conv,
    training_set,
)

# Among whole numbers some examples are fitted perfectly.
pytestmark = pytest.mark.filterwarnings("ignore::captum_tfa.ZeroGradientWarning")


def _best(scores: Tensor, k: int, proponents: bool) -> tuple[list[Any], list[Any]]:
    """Of equal scores the earlier example comes first."""
    order = scores.argsort(dim=1, descending=proponents, stable=True)[:, :k]
    return order.tolist(), scores.gather(1, order).tolist()


@pytest.mark.parametrize("proponents", [True, False])
@pytest.mark.parametrize("k", [1, 3, 11, 40])
@pytest.mark.parametrize("score_class", [GradCosScore, GradDotScore])
def test_k_most_influential_are_the_best_of_all_scores(
    score_class: Any, k: int, proponents: bool
) -> None:
    influence = ScoreInfluence(score_class(linear_and_conv()), training_set(), batch_size=4)
    best = influence.influence((TESTS, TEST_LABELS), k=k, proponents=proponents)
    scores = influence.influence((TESTS, TEST_LABELS))
    assert isinstance(best, KMostInfluentialResults)
    assert isinstance(scores, Tensor)
    assert (best.indices.tolist(), best.influence_scores.tolist()) == _best(scores, k, proponents)
    assert best.indices.shape == (4, min(k, 11))
    assert best.indices.dtype == torch.int64
    assert best.influence_scores.dtype == torch.float64


@settings(deadline=None, max_examples=40)
@given(data=st.data())
def test_of_equal_scores_the_earlier_example_comes_first(data: st.DataObject) -> None:
    """Few different whole numbers, so many scores are equal, also across batches."""
    small = st.integers(-2, 2)
    pairs = st.lists(st.tuples(small, small, small), min_size=1, max_size=12)
    drawn = torch.tensor(data.draw(pairs, "training examples"), dtype=torch.float64)
    asked = torch.tensor(data.draw(pairs, "test examples")[:4], dtype=torch.float64)
    k = data.draw(st.integers(1, 14), "k")
    proponents = data.draw(st.booleans(), "proponents")
    score = GradDotScore(WholeNumbers(), nn.MSELoss(reduction="none"))
    influence = ScoreInfluence(
        score,
        TensorDataset(drawn[:, :2], drawn[:, 2:]),
        batch_size=data.draw(st.integers(1, 13), "batch_size"),
    )
    test_side = asked[:, :2], asked[:, 2:]
    best = influence.influence(test_side, k=k, proponents=proponents)
    scores = influence.influence(test_side)
    assert isinstance(best, KMostInfluentialResults)
    assert isinstance(scores, Tensor)
    assert (best.indices.tolist(), best.influence_scores.tolist()) == _best(scores, k, proponents)


@pytest.mark.parametrize("k", [np.int64(3), torch.tensor(3)])
def test_whole_numbers_of_other_libraries_are_taken(k: Any) -> None:
    influence = ScoreInfluence(GradCosScore(linear_and_conv()), training_set())
    best = influence.influence(TESTS, k=k)
    assert best.indices.tolist() == influence.influence(TESTS, k=3).indices.tolist()


@pytest.mark.parametrize("k", [0, -1])
def test_k_below_one_is_refused(k: int) -> None:
    influence = ScoreInfluence(GradCosScore(linear_and_conv()), training_set())
    with pytest.raises(ValueError, match=f"k is {k}; it must be at least 1, or None for all"):
        influence.influence(TESTS, k=k)


@pytest.mark.parametrize("k", [2.5, "3"])
def test_k_that_is_no_whole_number_is_refused_before_any_work(k: Any) -> None:
    score = GradCosScore(linear_and_conv())
    influence = ScoreInfluence(score, training_set())
    with pytest.raises((TypeError, ValueError), match=r"\bk is"):
        influence.influence(TESTS, k=k)


class _Stream(IterableDataset[Any]):
    """Endless variations of eight examples; counts the live numbers of the process on its way."""

    def __init__(self, count: int) -> None:
        self.count = count
        self.live: dict[int, int] = {}

    def __iter__(self) -> Iterator[Any]:
        for index in range(self.count):
            if index in (self.count // 5, self.count - 1):
                self.live[index] = _live_numbers()
            yield torch.tensor([index % 8 - 3.0, index % 5]).double(), torch.tensor([1.0]).double()


def _live_numbers() -> int:
    return sum(one.numel() for one in gc.get_objects() if type(one) is Tensor)


class _Largest(TorchDispatchMode):
    """Notes the largest tensor that any operation makes."""

    def __init__(self) -> None:
        super().__init__()
        self.numbers = 0

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Any = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        made = func(*args, **(kwargs or {}))
        for tensor in made if isinstance(made, tuple | list) else (made,):
            if isinstance(tensor, Tensor):
                self.numbers = max(self.numbers, tensor.numel())
        return made


def test_memory_does_not_grow_with_the_training_set_when_k_is_given() -> None:
    """Neither in one large tensor nor in many small ones."""
    count, batch_size, queries = 10_000, 500, 4
    stream, largest = _Stream(count), _Largest()
    score = GradDotScore(WholeNumbers(), nn.MSELoss(reduction="none"))
    influence = ScoreInfluence(score, stream, batch_size=batch_size)
    tests = torch.arange(2 * queries).reshape(queries, 2).double()
    with largest:
        best = influence.influence((tests, torch.zeros(queries, 1).double()), k=5)
    assert isinstance(best, KMostInfluentialResults)
    assert best.indices.shape == (queries, 5)
    assert int(best.indices.max()) < count
    assert largest.numbers < 2 * queries * (batch_size + 5)
    early, late = stream.live.values()
    assert late - early < queries * batch_size
