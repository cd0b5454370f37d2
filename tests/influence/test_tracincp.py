"""Grad-dot rankings are captum's TracInCP with one checkpoint, up to its learning rate."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from captum.influence import TracInCP
from torch import Tensor, nn

from captum_tfa import GradDotScore, ScoreInfluence
from tests.influence.tiny_sets import TEST_LABELS, TESTS, linear_and_conv, training_set
from tests.oracle import EXACT, relative_error

LEARNING_RATE = 0.25


def _both(sample_wise: bool) -> tuple[ScoreInfluence, Any]:
    model = linear_and_conv()
    captums = TracInCP(
        model,
        training_set(),
        ["the only checkpoint"],
        checkpoints_load_func=lambda *_: LEARNING_RATE,
        loss_fn=nn.CrossEntropyLoss(reduction="sum" if sample_wise else "none"),
        batch_size=3,
        sample_wise_grads_per_batch=sample_wise,
    )
    return ScoreInfluence(GradDotScore(model), training_set(), batch_size=4), captums


@pytest.mark.parametrize("sample_wise", [False, True])
def test_scores(sample_wise: bool) -> None:
    ours, captums = _both(sample_wise)
    given = ours.influence((TESTS, TEST_LABELS))
    assert isinstance(given, Tensor)
    expected = captums.influence((TESTS, TEST_LABELS))
    assert relative_error(LEARNING_RATE * given, expected) < EXACT


@pytest.mark.parametrize("sample_wise", [False, True])
@pytest.mark.parametrize("proponents", [True, False])
@pytest.mark.parametrize("k", [1, 4])
def test_most_influential_examples(sample_wise: bool, proponents: bool, k: int) -> None:
    ours, captums = _both(sample_wise)
    given = ours.influence((TESTS, TEST_LABELS), k=k, proponents=proponents)
    expected = captums.influence((TESTS, TEST_LABELS), k=k, proponents=proponents)
    assert type(given) is type(expected)
    assert torch.equal(given.indices, expected.indices)
    scaled = LEARNING_RATE * given.influence_scores
    assert relative_error(scaled, expected.influence_scores) < EXACT


@pytest.mark.parametrize("sample_wise", [False, True])
def test_self_influence(sample_wise: bool) -> None:
    ours, captums = _both(sample_wise)
    expected = captums.self_influence()
    assert relative_error(LEARNING_RATE * ours.self_influence(), expected) < EXACT
