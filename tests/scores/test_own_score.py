"""A score of the user's own is one method; ranking, maps and layers follow."""

from __future__ import annotations

import torch
from torch import Tensor

from captum_tfa import LayerTrainingGradient, ScoreInfluence, TrainingGradient
from captum_tfa.gradients import Gradients, StoredGradients
from captum_tfa.scores import Score
from tests.oracle import EXACT, SlowScore, dot, relative_error, small_cnn

LABELS = torch.tensor([0, 2, 1])


class Projection(Score):
    """``⟨g_train, g_test⟩ / ‖g_test‖``."""

    symmetric = False

    def of(self, train: Gradients, tests: StoredGradients, rows: Tensor | None) -> Tensor:
        inner, _, test_squares = self.compared(train, tests, rows)
        return inner / test_squares.sqrt()


def test_ranking_and_maps_follow() -> None:
    model = small_cnn().double().eval()
    train, tests = torch.randn(3, 3, 8, 8).double(), torch.randn(2, 3, 8, 8).double()
    score = Projection(model)
    slow = SlowScore(model, formula=lambda train, test: dot(train, test) / test.norm())
    pairs = list(zip(train, LABELS.tolist(), strict=True))
    ranking = ScoreInfluence(score, pairs, batch_size=2).influence((tests, [1, 4]))
    for query, label in enumerate((1, 4)):
        test = tests[[query]]
        leaf = train.clone().requires_grad_()
        expected = slow(leaf, test, label, LABELS)
        (right,) = torch.autograd.grad(expected.sum(), leaf)
        assert relative_error(ranking[query], expected.detach()) < EXACT
        maps = TrainingGradient(score).attribute(train, LABELS, (test, label))
        assert relative_error(maps, right) < EXACT
    layer = LayerTrainingGradient(score, model[0]).attribute(train, LABELS, (tests[:1], 1))
    assert isinstance(layer, Tensor)
    assert layer.shape[0] == 3
    itself = ScoreInfluence(score, pairs).self_influence()
    assert relative_error(itself, slow(train, train, LABELS, LABELS).detach()) < EXACT
