"""The numerator of a score, and its map with the norms held."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torch.utils.data import TensorDataset

from captum_tfa import GradCosScore, GradDotScore, InfluenceScore, TrainingGradient
from captum_tfa.curvature import fit_curvature
from captum_tfa.scores import InnerProduct
from tests.attr.comparing import assert_same
from tests.attr.small_nets import LABELS, pictures, small_net
from tests.oracle import SlowScore, dot, slow_map

TRAIN, TEST = pictures(3, 1), pictures(1, 2)


def test_of_grad_cos_it_is_grad_dot() -> None:
    model = small_net()
    given = InnerProduct(GradCosScore(model))(TRAIN, TEST, 1, LABELS)
    assert_same(given, SlowScore(model, formula=dot)(TRAIN, TEST, 1, LABELS))
    assert_same(given.detach(), GradDotScore(model)(TRAIN, TEST, 1, LABELS).detach())


def test_with_one_over_the_norms_it_is_the_score_of_the_pair_and_its_map_holds_them() -> None:
    model, slow = small_net(), SlowScore(small_net(), formula=dot)
    value = GradCosScore(model)(TRAIN[:1], TEST, 1, 0).item()
    inner = InnerProduct(GradCosScore(model))(TRAIN[:1], TEST, 1, 0).item()
    held = InnerProduct(GradCosScore(model), scale=value / inner)
    assert held(TRAIN[:1], TEST, 1, 0).item() == pytest.approx(value)
    map = TrainingGradient(held).attribute(TRAIN[:1], 0, (TEST, 1))
    assert_same(map, slow_map(slow, TRAIN[:1], TEST, 1, 0) * value / inner)


def test_under_curvature_it_is_influence() -> None:
    model = small_net()
    seen = TensorDataset(pictures(9, 4), LABELS.repeat(3))
    curvature = fit_curvature(model, seen, kind="diagonal")
    given = InnerProduct(InfluenceScore(model, curvature))
    expected = InfluenceScore(model, curvature, None)
    assert_same(given(TRAIN, TEST, 1, LABELS), expected(TRAIN, TEST, 1, LABELS))

    def map(score: torch.nn.Module) -> Tensor:
        found: Tensor = TrainingGradient(score).attribute(TRAIN, LABELS, (TEST, 1))
        return found

    assert_same(map(given), map(expected))


def test_it_is_told_apart_from_its_score() -> None:
    score = GradCosScore(small_net())
    assert not InnerProduct(score).symmetric
    assert InnerProduct(score).name == "inner product"
