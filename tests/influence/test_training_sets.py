"""Training sets of every kind are ranked in their own order, with all their inputs and labels."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils.data import (
    BatchSampler,
    ConcatDataset,
    DataLoader,
    SequentialSampler,
    Subset,
    TensorDataset,
)

from captum_tfa import GradCosScore, GradDotScore, ScoreInfluence
from tests.influence.slow_ranking import assert_same, ranking_of, slow_ranking
from tests.influence.tiny_sets import (
    TEST_LABELS,
    TESTS,
    Streamed,
    images,
    linear_and_conv,
    training_set,
)
from tests.oracle import SlowScore

SETS: dict[str, Callable[[], Any]] = {
    "Dataset": training_set,
    "list of pairs": lambda: list(training_set()),
    "list with plain numbers": lambda: [(one, int(label)) for one, label in training_set()],
    "Subset": lambda: Subset(training_set(), range(11)),
    "ConcatDataset": lambda: ConcatDataset([training_set()]),
    "IterableDataset": lambda: Streamed(training_set()),
    "DataLoader": lambda: DataLoader(training_set(), batch_size=4),
    "DataLoader, whole last batch": lambda: DataLoader(
        training_set(), batch_size=11, drop_last=True
    ),
    "DataLoader, sampler in order": lambda: DataLoader(
        training_set(), batch_size=4, sampler=SequentialSampler(training_set())
    ),
    "DataLoader, batches in order": lambda: DataLoader(
        training_set(), batch_sampler=BatchSampler(SequentialSampler(training_set()), 4, False)
    ),
    "DataLoader of an IterableDataset": lambda: DataLoader(Streamed(training_set()), batch_size=4),
}


@pytest.mark.parametrize("name", SETS)
def test_order_of_the_training_set_is_kept(name: str) -> None:
    _, slow = ranking_of(GradDotScore)
    influence = ScoreInfluence(GradDotScore(slow.model), SETS[name](), batch_size=4)
    expected = slow_ranking(slow, *training_set().tensors)
    assert_same(influence.influence((TESTS, TEST_LABELS)), expected)
    assert_same(influence.influence((TESTS, TEST_LABELS)), expected)  # and a second time


@pytest.mark.parametrize("streamed", [False, True])
def test_loading_in_another_process(streamed: bool) -> None:
    _, slow = ranking_of(GradDotScore)
    examples = Streamed(training_set()) if streamed else training_set()
    influence = ScoreInfluence(GradDotScore(slow.model), examples, batch_size=4, num_workers=1)
    assert_same(
        influence.influence((TESTS, TEST_LABELS)), slow_ranking(slow, *training_set().tensors)
    )


class _TwoInputs(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.image, self.numbers = nn.Conv2d(2, 2, 3), nn.Linear(3, 4)
        self.out = nn.Linear(36, 3)

    def forward(self, image: Tensor, numbers: Tensor) -> Any:
        joined = torch.cat([self.image(image).flatten(1), self.numbers(numbers)], 1)
        return SimpleNamespace(logits=self.out(torch.tanh(joined)))


def test_model_with_two_inputs_and_a_named_output() -> None:
    torch.manual_seed(0)
    model = _TwoInputs().double().eval()
    numbers, test_numbers = torch.randn(6, 3).double(), torch.randn(2, 3).double()
    labels, test_labels = torch.arange(6) % 3, torch.tensor([2, 0])
    examples = [
        ((image, row), label)
        for image, row, label in zip(images(6, 1), numbers, labels, strict=True)
    ]
    score = GradCosScore(model, output_fn=lambda out: out.logits)
    influence = ScoreInfluence(score, examples, batch_size=4)
    slow = SlowScore(model, output_fn=lambda out: out.logits)
    for wanted in (test_labels, None):
        expected = torch.stack(
            [
                slow(
                    (images(6, 1), numbers),
                    (TESTS[row : row + 1], test_numbers[row : row + 1]),
                    None if wanted is None else wanted[row],
                    labels,
                ).detach()
                for row in range(2)
            ]
        )
        assert_same(influence.influence(((TESTS[:2], test_numbers), wanted)), expected)


@pytest.mark.parametrize(
    "loss_fn",
    [nn.BCEWithLogitsLoss(reduction="none"), nn.MSELoss(reduction="none")],
    ids=["multi-label", "regression"],
)
def test_labels_that_are_rows(loss_fn: nn.Module) -> None:
    model = linear_and_conv()
    labels, test_labels = torch.eye(3).double().repeat(2, 1), 1 - torch.eye(3).double()[[0, 2]]
    influence = ScoreInfluence(
        GradCosScore(model, loss_fn), TensorDataset(images(6, 1), labels), batch_size=4
    )
    slow = SlowScore(model, loss_fn)
    expected = slow_ranking(slow, images(6, 1), labels, TESTS[:2], test_labels)
    assert_same(influence.influence((TESTS[:2], test_labels)), expected)


def test_collate_fn_of_a_loader_is_used() -> None:
    def collate(examples: list[Any]) -> tuple[Tensor, Tensor]:
        inputs = torch.stack([one["image"] for one in examples])
        return inputs, torch.tensor([one["label"] for one in examples])

    _, slow = ranking_of(GradCosScore)
    dicts = [{"image": one, "label": int(label)} for one, label in training_set()]
    loader = DataLoader(dicts, batch_size=3, collate_fn=collate)  # type: ignore[arg-type]
    given = ScoreInfluence(GradCosScore(slow.model), loader).influence((TESTS, TEST_LABELS))
    assert_same(given, slow_ranking(slow, *training_set().tensors))
