"""The mean over models is the mean of their scores and of their maps."""

from __future__ import annotations

import pytest
import torch
from captum.attr import IntegratedGradients, LayerGradientXActivation, NoiseTunnel
from torch import Tensor, nn
from torch.utils.data import TensorDataset

from captum_tfa import (
    EnsembleScore,
    GradCosScore,
    InfluenceScore,
    LayerTrainingGradient,
    RepresenterScore,
    ScoreInfluence,
    TracInScore,
    TrainingGradient,
    TrainingIntegratedGradients,
)
from captum_tfa.curvature import fit_curvature
from captum_tfa.scores import Score, other_side
from captum_tfa.scores.sum_of_scores import changed
from tests.attr.comparing import assert_same, left_as_found
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
    right = torch.stack([one(TRAIN, TEST[:1], 2, LABELS) for one in slow]).mean(0).detach()
    assert_same(table[0], right)
    itself = ScoreInfluence(SCORE, TensorDataset(TRAIN, LABELS)).self_influence()
    assert torch.allclose(itself, torch.ones(3).double())


def test_the_mean_of_sums_is_that_of_their_scores_and_maps() -> None:
    data = TensorDataset(pictures(9, 4), LABELS.repeat(3))
    last = [list(dict(model.named_modules()))[-1] for model in MODELS]
    kinds = [
        [
            RepresenterScore(model, data, name, 0.1)
            for model, name in zip(MODELS, last, strict=True)
        ],
        [TracInScore(model, [model.state_dict(), MODELS[0].state_dict()], 0.1) for model in MODELS],
    ]
    for scores in kinds:
        mean = EnsembleScore(scores)
        each = [score(TRAIN, TEST[:1], 1, LABELS).detach() for score in scores]
        assert_same(mean(TRAIN, TEST[:1], 1, LABELS).detach(), torch.stack(each).mean(0))
        maps = [TrainingGradient(one).attribute(TRAIN, LABELS, (TEST[:1], 1)) for one in scores]
        found = TrainingGradient(mean).attribute(TRAIN, LABELS, (TEST[:1], 1))
        assert_same(found, torch.stack(maps).mean(0))


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


def test_captums_wrappers_give_the_mean_of_what_they_give_for_each_model() -> None:
    def smooth(score: Score) -> Tensor:
        torch.manual_seed(5)
        found: Tensor = NoiseTunnel(TrainingGradient(score)).attribute(
            TRAIN, nt_samples=4, nt_samples_batch_size=2, stdevs=0.2, target=LABELS,
            additional_forward_args=(TEST[:1], torch.tensor([1])),
        )  # fmt: skip
        return found

    def along_a_path(score: Score) -> Tensor:
        side = (TEST[:1], torch.tensor([1]), LABELS)
        found: Tensor = IntegratedGradients(score).attribute(
            TRAIN, n_steps=5, internal_batch_size=4, additional_forward_args=side
        )
        return found

    def own_path(score: Score) -> Tensor:
        found = TrainingIntegratedGradients(score).attribute(
            TRAIN, 0.0, LABELS, (TEST[:1], 1), n_steps=5
        )
        assert isinstance(found, Tensor)
        return found

    for method in (smooth, along_a_path, own_path):
        right = torch.stack([method(score) for score in SCORE.scores]).mean(0)
        assert_same(method(SCORE), right)


def test_a_layer_of_one_model_has_its_share_under_captums_own_methods() -> None:
    side = {"additional_forward_args": (TEST[:1], torch.tensor([1]), LABELS)}
    layer = MODELS[1].conv1
    given = LayerGradientXActivation(SCORE, layer).attribute(TRAIN, **side)
    alone = LayerGradientXActivation(SCORE.scores[1], layer).attribute(TRAIN, **side)
    assert_same(given, alone / 3)


def test_every_model_is_left_as_found_also_when_the_last_one_fails() -> None:
    models = [made(SmallNet(), seed) for seed in range(3)]
    score = EnsembleScore([GradCosScore(model) for model in models])
    seen: list[str] = []
    models[0].fc.register_forward_hook(lambda *_: seen.append("a pass"))
    with left_as_found(models[0]), left_as_found(models[1]), left_as_found(models[2]):
        score(TRAIN, TEST[:1])  # without labels the models are asked first
        assert seen == ["a pass"]
        with pytest.raises(ValueError, match="model has classes 0 to 2"):
            TrainingGradient(score).attribute(TRAIN, 7, TEST[:1])
    models[2].train()
    seen.clear()
    with left_as_found(models[0]), pytest.raises(ValueError, match="training mode"):
        score(TRAIN, TEST[:1])
    assert not seen


def test_what_cannot_be_one_is_refused() -> None:
    with pytest.raises(ValueError, match="scores is empty"):
        EnsembleScore([])
    with pytest.raises(TypeError, match="scores holds a Linear"):
        EnsembleScore([nn.Linear(1, 1)])  # type: ignore[list-item]
    with pytest.raises(TypeError, match="no layer in common"):
        LayerTrainingGradient(SCORE, MODELS[0].conv1)
    with pytest.raises(TypeError, match="no layer in common"):
        LayerTrainingGradient(changed(SCORE, lambda part: part), MODELS[0].conv1)
    with pytest.raises(TypeError, match="is a sum of scores"):
        SCORE.against(TRAIN, LABELS, SCORE.test_gradients(TEST, LABELS[:2]))
