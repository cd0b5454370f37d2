"""Self-influence: the score of each training example for itself."""

from __future__ import annotations

import pytest
import torch

from captum_tfa import GradCosScore, GradDotScore
from captum_tfa.scores import Score
from tests.influence.slow_ranking import assert_same, ranking_of
from tests.influence.tiny_sets import training_set


@pytest.mark.parametrize("score_class", [GradCosScore, GradDotScore])
def test_self_influence_is_the_score_of_each_example_for_itself(score_class: type[Score]) -> None:
    influence, slow = ranking_of(score_class, batch_size=4)
    train, labels = training_set().tensors
    expected = torch.cat(
        [
            slow(train[row : row + 1], train[row : row + 1], labels[row], labels[row]).detach()
            for row in range(len(train))
        ]
    )
    assert_same(influence.self_influence(), expected)
    if score_class is GradCosScore:
        torch.testing.assert_close(influence.self_influence(), torch.ones(11).double())


def test_self_influence_is_the_diagonal_of_the_training_set_for_itself() -> None:
    influence, _ = ranking_of(GradDotScore, batch_size=3)
    every_pair = influence.influence(training_set().tensors)
    assert_same(influence.self_influence(), every_pair.diagonal())
