from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.utils.data import TensorDataset

from captum_tfa.auditing.mistakes import Answers, answers_of
from tests.auditing.small import MODEL, TESTS, said


def test_answers_equal_those_of_one_picture_at_a_time() -> None:
    answers = answers_of(MODEL, TESTS, 3, batch_size=4)
    expected, sure = said()
    assert answers.predicted.tolist() == expected.tolist()
    torch.testing.assert_close(answers.confidence.double(), sure.double())
    assert answers.labels.tolist() == [label for _, label in TESTS.samples]
    with torch.no_grad():
        losses = [
            nn.functional.cross_entropy(MODEL(image[None]), label[None]) for image, label in TESTS
        ]
    torch.testing.assert_close(answers.losses, torch.stack(losses))


def test_mistakes_are_the_wrong_answers_the_surest_first() -> None:
    answers = Answers(
        torch.tensor([0, 1, 0, 1, 0]),
        torch.tensor([1, 1, 1, 0, 1]),
        torch.tensor([0.6, 0.99, 0.9, 0.7, 0.9]),
        torch.zeros(5),
    )
    assert answers.mistakes(None).tolist() == [2, 4, 3, 0]  # of equal ones the earlier
    assert answers.mistakes(2).tolist() == [2, 4]


def test_a_sample_is_spread_and_holds_each_place_once() -> None:
    answers = Answers(*(torch.zeros(10) for _ in range(4)))
    assert answers.sample(100).tolist() == list(range(10))
    assert answers.sample(4).tolist() == [0, 3, 6, 9]


def test_one_logit_tells_two_classes_apart() -> None:
    model = nn.Sequential(nn.Flatten(), nn.Linear(4, 1)).eval()
    images = torch.randn(6, 1, 2, 2)
    tests = TensorDataset(images, torch.zeros(6, dtype=torch.long))
    answers = answers_of(model, tests, 2)
    with torch.no_grad():
        logit = model(images)[:, 0]
    assert answers.predicted.tolist() == (logit > 0).long().tolist()
    torch.testing.assert_close(answers.confidence, torch.sigmoid(logit.abs()))
    binary = nn.functional.binary_cross_entropy_with_logits
    torch.testing.assert_close(answers.losses, binary(logit, torch.zeros(6), reduction="none"))


def test_a_label_that_the_model_does_not_know_is_named() -> None:
    tests = TensorDataset(torch.randn(3, 3, 8, 8), torch.tensor([0, 1, 7]))
    with pytest.raises(ValueError, match=r"label of test_dataset\[2\] is 7.*0 to 2"):
        answers_of(MODEL, tests, 3, batch_size=2)


def test_an_answer_that_is_not_finite_is_named() -> None:
    images = torch.randn(3, 3, 8, 8)
    images[1] = torch.nan
    with pytest.raises(ValueError, match=r"test_dataset\[1\] is not finite"):
        answers_of(MODEL, TensorDataset(images, torch.zeros(3, dtype=torch.long)), 3)
