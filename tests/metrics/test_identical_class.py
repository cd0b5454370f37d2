from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.neighbors import KNeighborsClassifier
from torch import nn
from torch.utils.data import TensorDataset

from captum_tfa import GradCosScore, ScoreInfluence
from captum_tfa.metrics.identical_class import share_of_same_class

SCORES = torch.tensor([[0.9, 0.1, 0.5, -3.0], [0.2, 0.8, 0.7, 0.9]])
TRAIN_LABELS = torch.tensor([0, 1, 1, 0])


def test_the_top_image_by_hand() -> None:
    found = share_of_same_class(SCORES, TRAIN_LABELS, torch.tensor([0, 1]))
    assert found.tolist() == [1.0, 0.0]


def test_the_top_k_by_hand() -> None:
    found = share_of_same_class(SCORES, TRAIN_LABELS, torch.tensor([0, 1]), k=3)
    torch.testing.assert_close(found, torch.tensor([1 / 3, 2 / 3]).double())


def test_a_tie_counts_in_parts() -> None:
    scores = torch.tensor([[2.0, 1.0, 1.0, 1.0]])  # three images for the one place left
    found = share_of_same_class(scores, torch.tensor([5, 6, 7, 6]), torch.tensor([6]), k=2)
    assert float(found) == pytest.approx((2 / 3) / 2)


@settings(deadline=None)
@given(size=st.integers(1, 30), k=st.integers(1, 30), seed=st.integers(0, 99))
def test_equal_scores_are_at_chance_level(size: int, k: int, seed: int) -> None:
    labels = torch.randint(3, (size,), generator=torch.Generator().manual_seed(seed))
    found = share_of_same_class(torch.zeros(3, size), labels, torch.arange(3), min(k, size))
    torch.testing.assert_close(found, labels.bincount(minlength=3).double() / size)


@settings(deadline=None, max_examples=25)
@given(queries=st.integers(1, 8), size=st.integers(1, 30), k=st.integers(1, 30))
def test_scores_by_distance_are_scikit_learns_nearest_neighbours(
    queries: int, size: int, k: int
) -> None:
    k = min(k, size)
    train, test = torch.randn(size, 4), torch.randn(queries, 4)
    train_labels, labels = torch.arange(size) % 3, torch.arange(queries) % 3
    scores = -torch.cdist(train.double(), test.double()).T
    neighbours = KNeighborsClassifier(k).fit(train.double(), train_labels)
    oracle = torch.zeros(queries, 3).double()
    oracle[:, neighbours.classes_] = torch.from_numpy(neighbours.predict_proba(test.double()))
    found = share_of_same_class(scores, train_labels, labels, k)
    torch.testing.assert_close(found, oracle.gather(1, labels.unsqueeze(1)).squeeze(1))


def test_grad_cos_of_a_linear_model_tells_classes_and_hidden_subclasses_apart() -> None:
    hidden = torch.arange(4).repeat_interleave(10)  # four clusters, learned as two classes
    inputs = 10 * torch.eye(4)[hidden] + torch.randn(40, 4)
    model = nn.Linear(4, 2, bias=False)
    with torch.no_grad():
        model.weight.copy_(torch.tensor([[1.0, 1, 0, 0], [0, 0, 1, 1]]) / 20)
    train = TensorDataset(inputs, hidden // 2)
    scores = ScoreInfluence(GradCosScore(model.eval()), train).influence(inputs)
    predicted = model(inputs).argmax(1)
    assert share_of_same_class(scores, hidden // 2, predicted).min() == 1
    assert share_of_same_class(scores, hidden, hidden, k=10).min() == 1


@pytest.mark.parametrize(
    ("scores", "train_labels", "labels", "k", "message"),
    [
        (torch.zeros(4), TRAIN_LABELS, torch.tensor([0]), 1, "must be .test images, training"),
        (SCORES.T, TRAIN_LABELS, torch.tensor([0, 1]), 1, "must be .test images, training"),
        (SCORES, TRAIN_LABELS.float(), torch.tensor([0, 1]), 1, "train_labels is torch.float32"),
        (SCORES, TRAIN_LABELS, torch.tensor([[0, 1]]), 1, r"labels is torch.int64 of the shape \["),
        (SCORES, TRAIN_LABELS, torch.tensor([0, 1]), 0, "k is 0; it must lie in 1 to 4"),
        (SCORES, TRAIN_LABELS, torch.tensor([0, 1]), 5, "k is 5; it must lie in 1 to 4"),
        (SCORES / 0, TRAIN_LABELS, torch.tensor([0, 1]), 1, "NaN or infinity"),
    ],
)
def test_bad_arguments_are_named(
    scores: torch.Tensor, train_labels: torch.Tensor, labels: torch.Tensor, k: int, message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        share_of_same_class(scores, train_labels, labels, k)
