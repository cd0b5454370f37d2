from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from captum_tfa import GradCosScore
from tests.oracle import NETS, relative_error, scores_and_maps

case = NETS["small cnn"]


def test_an_example_has_cosine_one_with_itself() -> None:
    score, (images,) = GradCosScore(case.model()), case.inputs(4)
    labels = torch.tensor([0, 1, 2, 3])
    ones = torch.ones(4, dtype=torch.float64)
    scores, (maps,) = scores_and_maps(score, images, images, labels, labels)
    torch.testing.assert_close(scores, ones, rtol=0, atol=1e-13)
    # The cosine is at its maximum, so no pixel can raise it.
    assert float(maps.abs().max()) < 1e-13
    torch.testing.assert_close(score.of_itself(images, labels), ones, rtol=0, atol=1e-13)


def test_stays_within_one_and_minus_one() -> None:
    model, (train,), (test,) = case.model(), case.inputs(32), case.inputs(8, seed=2)
    score = GradCosScore(model)
    ranked = score.against(train, torch.arange(32) % 5, score.test_gradients(test))
    assert float(ranked.abs().max()) <= 1 + 1e-12
    assert float(ranked.min()) < -0.1 < 0.1 < float(ranked.max())


@pytest.mark.parametrize("factor", [1e-6, 3.0, 1e6])
def test_loss_times_a_constant_changes_nothing(factor: float) -> None:
    def scaled(outputs: Tensor, targets: Tensor) -> Tensor:
        return factor * nn.functional.cross_entropy(outputs, targets, reduction="none")

    model, (train,), (test,) = case.model(), case.inputs(3), case.inputs(3, seed=2)
    labels = torch.tensor([0, 1, 2])
    expected, (maps,) = scores_and_maps(GradCosScore(model), train, test, labels.flip(0), labels)
    given, (given_maps,) = scores_and_maps(
        GradCosScore(model, scaled), train, test, labels.flip(0), labels
    )
    assert relative_error(given, expected) < 1e-11
    assert relative_error(given_maps, maps) < 1e-11


def test_the_opposite_loss_gives_the_opposite_score() -> None:
    def opposite(outputs: Tensor, targets: Tensor) -> Tensor:
        signs = torch.where(targets > 4, -1.0, 1.0)
        return signs * nn.functional.cross_entropy(outputs, targets % 5, reduction="none")

    model, (train,), (test,) = case.model(), case.inputs(3), case.inputs(1, seed=2)
    score = GradCosScore(model, opposite)
    helpful, harmful = score(train, test, 1, [0, 1, 2]), score(train, test, 1, [5, 6, 7])
    torch.testing.assert_close(helpful, -harmful, rtol=1e-12, atol=0)


def test_large_norms_do_not_overflow() -> None:
    # In float32 the product of the squared norms would be infinite.
    def huge(outputs: Tensor, targets: Tensor) -> Tensor:
        return 1e15 * nn.functional.cross_entropy(outputs, targets, reduction="none")

    model, (train,), (test,) = case.model().float(), case.inputs(2), case.inputs(1, seed=2)
    expected = GradCosScore(model)(train.float(), test.float(), 1, 2)
    given = GradCosScore(model, huge)(train.float(), test.float(), 1, 2)
    torch.testing.assert_close(given, expected, rtol=1e-4, atol=0)
