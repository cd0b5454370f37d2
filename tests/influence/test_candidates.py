from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch.utils.data import TensorDataset

from captum_tfa import GradCosScore, GradDotScore, GradientIndex, InfluenceScore
from captum_tfa.curvature import fit_curvature
from captum_tfa.influence.candidates import Candidates
from captum_tfa.scores import Score
from tests.influence.tiny_sets import TEST_LABELS, TESTS, images, linear_and_conv

COUNT, DIMENSION = 60, 48


def data() -> TensorDataset:
    return TensorDataset(images(COUNT, 1), torch.arange(COUNT) % 3)


def index_of(score: Score, folder: Path) -> GradientIndex:
    return GradientIndex.build(score, data(), folder, DIMENSION, precision="float32")


def rows(index: GradientIndex) -> torch.Tensor:
    """``Φ [N, D]``, float64."""
    (chunk,) = index.chunks()
    return torch.cat([*chunk.projections(torch.device("cpu"))]).double()


def found_by(candidates: Candidates, count: int, proponents: bool) -> torch.Tensor:
    tests = candidates.score.test_gradients(TESTS, TEST_LABELS)
    return candidates.find(tests, TESTS, TEST_LABELS, count, proponents)


@pytest.mark.parametrize("proponents", [True, False])
@pytest.mark.parametrize("normalise", [None, "cos"])
def test_curvature_gets_every_second_candidate_from_the_projected_space(
    normalise: str | None, proponents: bool, tmp_path: Path
) -> None:
    model = linear_and_conv()
    score = InfluenceScore(model, fit_curvature(model, data(), "ekfac"), normalise)
    index = index_of(score, tmp_path)
    found = found_by(Candidates(score, index), 7, proponents)
    phi = rows(index)
    moment = phi.T @ phi / COUNT
    damped = moment + 0.3 * moment.trace() / DIMENSION * torch.eye(DIMENSION).double()
    tests = index.project(GradDotScore(model).test_gradients(TESTS, TEST_LABELS)).double()
    solved = index.project(score.test_gradients(TESTS, TEST_LABELS)).double()
    over = index.norms.double() if normalise == "cos" else torch.ones(COUNT).double()
    tables = [
        phi @ vectors.T / over[:, None] for vectors in (tests @ torch.linalg.inv(damped), solved)
    ]
    orders = [table.argsort(dim=0, descending=proponents, stable=True).T for table in tables]
    for question, (some, others) in enumerate(zip(*orders, strict=True)):
        wanted: list[int] = []
        for pair in zip(some.tolist(), others.tolist(), strict=True):
            wanted += [number for number in dict.fromkeys(pair) if number not in wanted]
        assert found[question].tolist() == wanted[:7]


def test_other_scores_get_those_with_the_best_estimates(tmp_path: Path) -> None:
    score = GradCosScore(linear_and_conv())
    index = index_of(score, tmp_path)
    found = found_by(Candidates(score, index), 7, True)
    tests = index.project(score.test_gradients(TESTS, TEST_LABELS)).double()
    estimates = (rows(index) @ tests.T / index.norms.double()[:, None]).T
    assert torch.equal(found, estimates.argsort(dim=1, descending=True, stable=True)[:, :7])
    assert not (tmp_path / "second_moment.safetensors").exists()


def test_all_are_candidates_where_there_are_no_more(tmp_path: Path) -> None:
    model = linear_and_conv()
    score = InfluenceScore(model, fit_curvature(model, data(), "ekfac"))
    found = found_by(Candidates(score, index_of(score, tmp_path)), 99, True)
    assert torch.equal(found.sort(1).values, torch.arange(COUNT).expand(len(TESTS), -1))
