"""Rankings by a slow loop, and what is compared with them."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from captum_tfa import GradCosScore, ScoreInfluence
from captum_tfa.scores import Score
from tests.influence.tiny_sets import TEST_LABELS, TESTS, linear_and_conv, training_set
from tests.oracle import EXACT, SlowScore, cos, dot, relative_error


def slow_ranking(
    slow: SlowScore, train: Any, labels: Any, tests: Any = TESTS, test_labels: Any = TEST_LABELS
) -> Tensor:
    """Scores ``[Q, N]``, one pair after the other."""
    rows = []
    for index in range(len(tests)):
        label = None if test_labels is None else test_labels[index : index + 1]
        rows.append(slow(train, tests[index : index + 1], label, labels).detach())
    return torch.stack(rows)


def ranking_of(score_class: type[Score], **rest: Any) -> tuple[ScoreInfluence, SlowScore]:
    """A ranking of the training set, and the slow score of the same model."""
    model = linear_and_conv()
    slow = SlowScore(model, formula=cos if score_class is GradCosScore else dot)
    return ScoreInfluence(score_class(model), training_set(), **rest), slow


def assert_same(given: Any, expected: Tensor) -> None:
    """Scores agree to the exactness of float64."""
    assert isinstance(given, Tensor)
    assert relative_error(given, expected) < EXACT
    assert not given.requires_grad
