"""The test side of a score that is not symmetric, over the same denominator."""

from __future__ import annotations

import pytest
import torch

from captum_tfa import GradDotScore, InfluenceScore, TrainingGradient
from captum_tfa.scores import Score, TurnedRound
from tests.oracle import EXACT, relative_error
from tests.scores.test_influence import Metric, _images, _net, slow_influence


@pytest.mark.parametrize("normalise", [None, "cos", "theta", "ell"])
def test_map_of_the_test_side_equals_the_oracle(normalise: str | None) -> None:
    model = _net()
    metric, train, test = Metric(model), _images(1), _images(1)
    score = InfluenceScore(model, metric, normalise)
    slow = slow_influence(model, metric, None)
    value = float(score(train, test, 1, 2).detach())
    turned = TurnedRound(score)
    inner = float(turned(test, train, 2, 1).detach())
    # ∂⟨g(x_test), K g_train⟩/∂x_test over the pair's own denominator, inner / value.
    leaf = test.clone().requires_grad_()
    plain = slow(leaf, train, 2, torch.tensor([1]))
    assert inner == pytest.approx(float(plain.detach()), rel=1e-10)
    (right,) = torch.autograd.grad(plain.sum(), leaf)
    other_side = TurnedRound(score, value / inner)
    assert float(other_side(test, train, 2, 1).detach()) == pytest.approx(value, rel=1e-10)
    maps = TrainingGradient(other_side).attribute(test, 1, (train, 2))
    assert relative_error(maps, right * value / inner) < EXACT


def test_each_side_keeps_its_own_measure() -> None:
    model = _net()
    train, test = _images(1), _images(1)
    score: Score = GradDotScore(model, measure_fn="margin")
    forth = score(train, test, 1, 2).detach()
    back = TurnedRound(score)(test, train, 2, 1).detach()
    assert relative_error(back, forth) < EXACT
