"""Scores by name, whose curvature is fitted once, and the maps of `explain` for pairs."""

from __future__ import annotations

from pathlib import Path
from unittest import mock

import pytest
import torch
from torch import Tensor, nn
from torch.utils.data import TensorDataset

from captum_tfa import GradCosScore, InfluenceScore, SmoothGrad, TrainingGradCos
from captum_tfa.attr import TrainingIntegratedGradients
from captum_tfa.curvature import fit_curvature
from captum_tfa.demo import SmallCNN
from common import rivals
from common.rivals import Maps, score_named, unkept_score

GENERATOR = torch.Generator().manual_seed(0)
IMAGES, TESTS = torch.rand(2, 6, 3, 8, 8, generator=GENERATOR).unbind()
LABELS = torch.tensor([0, 1, 2, 0, 1, 2])
TRAIN, TEST = (IMAGES[:3], LABELS[:3]), (TESTS[:3], LABELS[[0, 2, 1]])
COLOUR = torch.tensor([0.4, 0.5, 0.6])


def network() -> nn.Module:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return SmallCNN(3).eval()


def test_curvature_is_fitted_once_and_kept(tmp_path: Path) -> None:
    model, data = network(), TensorDataset(IMAGES, LABELS)
    first = score_named("influence", model, data, tmp_path / "one", 6)
    with mock.patch.object(rivals, "fit_curvature", side_effect=AssertionError):
        again = score_named("influence", model, data, tmp_path / "one", 6)
    by_hand = InfluenceScore(model, fit_curvature(model, data, max_examples=6))
    unkept = unkept_score("influence", model, data, 6)
    sides = (TRAIN[0], TEST[0], TEST[1], TRAIN[1])
    expected = by_hand(*sides)
    for score in (first, again, unkept):
        torch.testing.assert_close(score(*sides), expected)


def test_names_are_those_of_explain(tmp_path: Path) -> None:
    model, data = network(), TensorDataset(IMAGES, LABELS)
    assert isinstance(score_named("grad-cos", model, data, tmp_path / "one", 6), GradCosScore)
    with pytest.raises(ValueError, match="score is 'grad'; it must be one of grad-cos"):
        score_named("grad", model, data, tmp_path / "one", 6)


def test_maps_are_those_of_the_methods() -> None:
    model = network()
    score = GradCosScore(model)
    paper = Maps("gradient", COLOUR, 3, 0.2, seed=4).of(score, TRAIN, TEST)
    expected = SmoothGrad(TrainingGradCos(model)).attribute(
        *TRAIN, TEST, nt_samples=3, noise_level=0.2, seed=4
    )
    torch.testing.assert_close(paper, expected)


def test_heat_of_an_opponent_is_what_lowers_its_score() -> None:
    score = GradCosScore(network())
    found = Maps("integrated_gradients", COLOUR, 3).heat(score, TRAIN, TEST)
    start = COLOUR.view(1, 3, 1, 1).expand_as(TRAIN[0])
    maps = TrainingIntegratedGradients(score).attribute(TRAIN[0], start, TRAIN[1], TEST, n_steps=3)
    signs: Tensor = score(TRAIN[0], TEST[0], TEST[1], TRAIN[1]).sign().detach()
    assert {-1.0, 1.0} == set(signs.tolist())
    torch.testing.assert_close(found, (signs.view(-1, 1, 1) * maps.sum(1)).clamp_min(0))
