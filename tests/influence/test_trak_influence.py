"""TRAK agrees with its authors' package and with the formula."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils.data import TensorDataset
from trak import TRAKer
from trak.projectors import AbstractProjector, ProjectionType

from captum_tfa import GradDotScore, GradientIndex, TrakInfluence, learn_weights
from tests.influence.projected_slowly import (
    COUNT,
    DIMENSION,
    IMAGES,
    LABELS,
    built,
    matrix,
    minus_margin,
    slow_features,
)
from tests.influence.tiny_sets import TEST_LABELS, TESTS, linear_and_conv


class SameMatrix(AbstractProjector):
    """Lets traker project with our matrix, divided as its own projectors do."""

    def __init__(self, projected_by: Tensor) -> None:
        super().__init__(
            len(projected_by), DIMENSION, 0, ProjectionType.normal, torch.device("cpu")
        )
        self.projected_by = projected_by

    def project(self, grads: Any, model_id: int) -> Tensor:
        if isinstance(grads, dict):
            grads = torch.cat([grad.flatten(1) for grad in grads.values()], 1)
        return grads.float() @ self.projected_by

    def free_memory(self) -> None:
        pass


def models() -> list[nn.Module]:
    found = []
    for seed in (0, 1):
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            model = linear_and_conv().float()
            for parameter in model.parameters():
                parameter.data += 0.3 * torch.randn_like(parameter)
        found.append(model.eval())
    return found


@pytest.mark.parametrize("count", [1, 2])
def test_trak_agrees_with_traker_up_to_its_scaling(count: int, tmp_path: Path) -> None:
    ensemble = models()[:count]
    traker = TRAKer(
        ensemble[0],
        "image_classification",
        COUNT,
        save_dir=str(tmp_path / "peer"),
        device="cpu",
        projector=SameMatrix(matrix(ensemble[0], torch.float32)),
        proj_dim=DIMENSION,
        use_half_precision=False,
        logging_level=50,
    )
    for number, model in enumerate(ensemble):
        traker.load_checkpoint(model.state_dict(), number)
        traker.featurize((IMAGES.float(), LABELS), num_samples=COUNT)
    traker.finalize_features()
    for number, model in enumerate(ensemble):
        traker.start_scoring_checkpoint("tests", model.state_dict(), number, len(TESTS))
        traker.score((TESTS.float(), TEST_LABELS), num_samples=len(TESTS))
    theirs = torch.from_numpy(traker.finalize_scores("tests").copy()).T.double()

    data = TensorDataset(IMAGES.float(), LABELS)
    scores = [GradDotScore(model, loss_fn="margin") for model in ensemble]
    indices = [
        GradientIndex.build(score, data, tmp_path / f"{number}", DIMENSION, precision="float32")
        for number, score in enumerate(scores)
    ]
    ours = TrakInfluence(scores, indices, damping=0).influence((TESTS.float(), TEST_LABELS))
    ours = ours.double()
    if count > 1:  # each of its models is scaled by itself, so that is compared one by one
        expected = _by_formula(ensemble)
        assert float((ours - expected).norm() / expected.norm()) < 1e-4
        return
    scale = (ours * theirs).sum() / theirs.square().sum()
    assert float(scale) > 0
    assert float((ours - scale * theirs).norm() / ours.norm()) < 1e-4


def _by_formula(ensemble: list[nn.Module]) -> Tensor:
    scores, doubts = [], []
    for model in ensemble:
        model = model.double()
        train = slow_features(model, IMAGES, LABELS, minus_margin)
        tests = slow_features(model, TESTS, TEST_LABELS, minus_margin)
        scores.append(tests @ (train.T @ train / COUNT).inverse() @ train.T)
        doubts.append(1 - model(IMAGES).softmax(1)[torch.arange(COUNT), LABELS].detach())
    return torch.stack(scores).mean(0) * torch.stack(doubts).mean(0)


def test_contributions_add_up_and_weights_learned_from_them_act(tmp_path: Path) -> None:
    ensemble = [model.double() for model in models()]
    scores = [GradDotScore(model, loss_fn="margin") for model in ensemble]
    indices = [built(score, tmp_path / f"{number}") for number, score in enumerate(scores)]
    trak = TrakInfluence(scores, indices, damping=0)
    found = trak.influence((TESTS, TEST_LABELS), by_group="layer")
    close = {"rtol": 1e-4, "atol": 1e-5 * float(found.influence_scores.abs().max())}
    formula = _by_formula(ensemble).float()
    torch.testing.assert_close(found.influence_scores, formula, **close)
    torch.testing.assert_close(found.contributions.sum(-1), found.influence_scores, **close)

    weights = learn_weights(trak, (TESTS, TEST_LABELS), k=3, steps=20)
    assert weights.learned["score"] == "TRAK"
    assert weights.learned["training_examples"] == COUNT
    weighted = TrakInfluence([score.weighted(weights) for score in scores], indices, damping=0)
    expected = found.contributions @ torch.tensor(list(weights.by_group.values()))
    torch.testing.assert_close(weighted.influence((TESTS, TEST_LABELS)), expected, **close)
    assert weighted.name == "weighted TRAK"


def test_what_does_not_fit_is_refused(tmp_path: Path) -> None:
    model = linear_and_conv()
    plain, margin = GradDotScore(model), GradDotScore(model, loss_fn="margin")
    index = built(plain, tmp_path / "plain")
    with pytest.raises(ValueError, match="made of the gradients of the margin"):
        TrakInfluence(plain, index)
    with pytest.raises(ValueError, match="built with loss"):
        TrakInfluence(margin, index)
    with pytest.raises(ValueError, match="2 scores and 1 indices"):
        TrakInfluence([margin, margin], index)
