"""The mean over models is the mean of their scores and of their maps."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.utils.data import TensorDataset

from captum_tfa import (
    EnsembleScore,
    GradCosScore,
    InfluenceScore,
    LayerTrainingGradient,
    ScoreInfluence,
    TrainingGradient,
)
from captum_tfa.curvature import fit_curvature
from captum_tfa.scores import other_side
from tests.attr.comparing import assert_same
from tests.attr.small_nets import LABELS, SmallNet, made, pictures
from tests.oracle import SlowScore, slow_map

TRAIN, TEST = pictures(3, 1), pictures(2, 2)
MODELS = [made(SmallNet(), seed) for seed in range(3)]
SCORE = EnsembleScore([GradCosScore(model) for model in MODELS])


def test_scores_maps_and_rankings_are_means() -> None:
    slow = [SlowScore(model) for model in MODELS]
    given = SCORE(TRAIN, TEST[:1], 1, LABELS).detach()
    right = torch.stack([one(TRAIN, TEST[:1], 1, LABELS) for one in slow]).mean(0).detach()
    assert_same(given, right)
    maps = TrainingGradient(SCORE).attribute(TRAIN, LABELS, (TEST[:1], 1))
    assert_same(
        maps, torch.stack([slow_map(one, TRAIN, TEST[:1], 1, LABELS) for one in slow]).mean(0)
    )
    table = ScoreInfluence(SCORE, TensorDataset(TRAIN, LABELS)).influence((TEST[:1], LABELS[1:2]))
    assert_same(table[0], torch.stack([one(TRAIN, TEST[:1], 2, LABELS) for one in slow]).mean(0))
    itself = ScoreInfluence(SCORE, TensorDataset(TRAIN, LABELS)).self_influence()
    assert torch.allclose(itself, torch.ones(3).double())


def test_without_labels_the_mean_output_says_what_is_asked() -> None:
    with torch.no_grad():
        asked = torch.stack([model(TEST) for model in MODELS]).mean(0).argmax(1)
        own = torch.stack([model(TRAIN) for model in MODELS]).mean(0).argmax(1)
    given = SCORE(TRAIN, TEST[:1]).detach()
    assert_same(given, SCORE(TRAIN, TEST[:1], asked[0], own).detach())


def test_the_other_side_is_that_of_each_part() -> None:
    seen = TensorDataset(pictures(9, 4), LABELS.repeat(3))
    scores = [
        InfluenceScore(model, fit_curvature(model, seen, kind="diagonal")) for model in MODELS
    ]
    train, test = (TRAIN[:1], LABELS[:1]), (TEST[:1], LABELS[1:2])
    mean = EnsembleScore(scores)
    turned = other_side(mean, train, test)
    value = mean(train[0], test[0], test[1], train[1]).item()
    assert turned(test[0], train[0], train[1], test[1]).item() == pytest.approx(value)
    map = TrainingGradient(turned).attribute(*test, train)
    parts = [
        TrainingGradient(other_side(score, train, test)).attribute(*test, train) for score in scores
    ]
    assert_same(map, torch.stack(parts).mean(0))
    assert other_side(SCORE, train, test) is SCORE


def test_what_cannot_be_one_is_refused() -> None:
    with pytest.raises(ValueError, match="scores is empty"):
        EnsembleScore([])
    with pytest.raises(TypeError, match="scores holds a Linear"):
        EnsembleScore([nn.Linear(1, 1)])  # type: ignore[list-item]
    with pytest.raises(TypeError, match="no layer in common"):
        LayerTrainingGradient(SCORE, MODELS[0].conv1)
    with pytest.raises(TypeError, match="is a sum of scores"):
        SCORE.against(TRAIN, LABELS, SCORE.test_gradients(TEST, LABELS[:2]))
