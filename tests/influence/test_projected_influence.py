from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils.data import TensorDataset
from trak import TRAKer
from trak.projectors import AbstractProjector, ProjectionType

from captum_tfa import (
    GradCosScore,
    GradDotScore,
    GradientIndex,
    InfluenceScore,
    ProjectedInfluence,
    TrakInfluence,
)
from captum_tfa.curvature import fit_curvature
from captum_tfa.index import second_moment
from captum_tfa.index.projection import Projection
from tests.influence.tiny_sets import TEST_LABELS, TESTS, images, linear_and_conv
from tests.oracle import SlowScore

COUNT, DIMENSION = 60, 12
LABELS = torch.arange(COUNT) % 3
IMAGES = images(COUNT, 1)
DATA = TensorDataset(IMAGES, LABELS)


def matrix(model: nn.Module, dtype: torch.dtype = torch.float64) -> Tensor:
    """The projection's matrix ``[P, D]``."""
    parts = []
    for name, parameter in model.named_parameters():
        buckets, signs = Projection(DIMENSION, 0).entries(name, parameter.shape)
        part = torch.zeros(parameter.numel(), DIMENSION, dtype=dtype)
        part[torch.arange(parameter.numel()), buckets.flatten()] = signs.flatten().to(dtype)
        parts.append(part)
    return torch.cat(parts)


def slow_features(model: nn.Module, inputs: Tensor, labels: Tensor, loss: Any = None) -> Tensor:
    """``φ`` by plain autograd and the explicit matrix, ``[n, D]``."""
    slow = SlowScore(model, loss_fn=loss)
    rows = []
    for row in range(len(inputs)):
        gradient = slow.gradient((inputs[row : row + 1],), labels[row : row + 1])
        rows.append(torch.cat([part.flatten() for part in gradient]).detach())
    return torch.stack(rows) @ matrix(model)


def minus_margin(outputs: Tensor, labels: Tensor) -> Tensor:
    own = outputs.gather(1, labels[:, None])[:, 0]
    probability = outputs.softmax(1).gather(1, labels[:, None])[:, 0]
    return (1 - probability).log() - probability.log() + 0 * own


def built(score: Any, folder: Path) -> GradientIndex:
    return GradientIndex.build(score, DATA, folder, DIMENSION, precision="float32", shard_size=25)


@pytest.mark.parametrize("damping", [0.0, 0.1, 10.0])
def test_scores_equal_the_formula_with_an_explicit_inverse(damping: float, tmp_path: Path) -> None:
    model = linear_and_conv()
    score = GradDotScore(model)
    influence = ProjectedInfluence(score, built(score, tmp_path), damping)
    train, tests = slow_features(model, IMAGES, LABELS), slow_features(model, TESTS, TEST_LABELS)
    moment = train.T @ train / COUNT
    damped = moment + damping * moment.trace() / DIMENSION * torch.eye(DIMENSION)
    expected = tests @ damped.inverse() @ train.T
    found = influence.influence((TESTS, TEST_LABELS))
    assert float((found - expected).norm() / expected.norm()) < 1e-5
    best = influence.influence((TESTS, TEST_LABELS), 5, proponents=False)
    assert torch.equal(best.indices, expected.argsort(dim=1, stable=True)[:, :5])
    own = (train @ damped.inverse() * train).sum(1)
    torch.testing.assert_close(influence.self_influence().double(), own, rtol=1e-5, atol=1e-9)


def test_the_second_moment_is_kept_and_not_taken_for_another(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    score = GradDotScore(linear_and_conv())
    index = built(score, tmp_path)
    first = second_moment.second_moment(index)
    with monkeypatch.context() as patched:
        patched.setattr(GradientIndex, "chunks", lambda *_: iter(()))
        assert torch.equal(second_moment.second_moment(index), first)
    more = TensorDataset(torch.cat([IMAGES, TESTS]), torch.cat([LABELS, TEST_LABELS]))
    grown = GradientIndex.build(
        score, more, tmp_path, DIMENSION, precision="float32", shard_size=25
    )
    assert not torch.allclose(second_moment.second_moment(grown), first)


def test_the_second_moment_needs_no_folder_that_can_be_written_to(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    index = built(GradDotScore(linear_and_conv()), tmp_path)
    expected = second_moment.second_moment(index)
    (tmp_path / "second_moment.safetensors").unlink()

    def refuse(*_: Any, **__: Any) -> None:
        raise PermissionError

    monkeypatch.setattr(second_moment, "save_file", refuse)
    assert torch.equal(second_moment.second_moment(index), expected)


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
    curved = InfluenceScore(model, fit_curvature(model, DATA, "diagonal"))
    with pytest.raises(TypeError, match="has a curvature of its own"):
        ProjectedInfluence(curved, index)
    with pytest.raises(TypeError, match="index is a str"):
        ProjectedInfluence(plain, str(tmp_path))  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="score is a Linear"):
        ProjectedInfluence(nn.Linear(1, 1), index)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="damping is -1"):
        ProjectedInfluence(plain, index, -1)
    with pytest.raises(ValueError, match="k is 0"):
        ProjectedInfluence(plain, index).influence(TESTS, 0)
    few = TensorDataset(IMAGES[:5], LABELS[:5])
    small = GradientIndex.build(plain, few, tmp_path / "few", DIMENSION, precision="float32")
    with pytest.raises(ValueError, match="Give a larger damping"):
        ProjectedInfluence(plain, small, 0)
    assert ProjectedInfluence(GradCosScore(model), small).influence(TESTS).shape == (4, 5)
