from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from captum_tfa import GradientIndex, InfluenceScore
from captum_tfa.curvature import fit_curvature
from captum_tfa.index.search import Scoring
from captum_tfa.influence import candidates, foretelling
from captum_tfa.influence.candidates import Candidates
from captum_tfa.influence.foretelling import foretold
from captum_tfa.influence.from_index import FromIndex
from tests.influence.test_candidates import COUNT, data
from tests.influence.tiny_sets import TEST_LABELS, TESTS, linear_and_conv

KNOWN = torch.stack(
    [
        torch.randperm(COUNT, generator=torch.Generator().manual_seed(seed))[:9]
        for seed in range(len(TESTS))
    ]
)


def made(folder: Path, normalise: str | None, dimension: int = 24) -> tuple[InfluenceScore, Any]:
    model = linear_and_conv()
    score = InfluenceScore(model, fit_curvature(model, data(), "ekfac"), normalise)
    settings = {"precision": "float32", "shard_size": 25}
    return score, GradientIndex.build(score, data(), folder, dimension, **settings)


def directions(index: GradientIndex) -> Tensor:
    """``φ / ‖g‖``, ``[N, D]``, float64."""
    parts = [
        part.clone() for rows in index.chunks() for part in rows.projections(torch.device("cpu"))
    ]
    return torch.cat(parts).double() / index.norms.double()[:, None]


def slowly(d: Tensor, test: Tensor, known: Tensor, targets: Tensor) -> Tensor:
    """What is foretold of all: estimates times their worth, and regression on what is missing.

    The regression in the other form: ``(XᵀX + τ)⁻¹ Xᵀ t``.
    """
    x = d[known]
    worth = float((x @ test) @ targets) / float((x @ test).square().sum())
    guess = max(worth, 0.0) * test
    inverse = torch.linalg.inv(x.T @ x + 0.1 * torch.eye(d.shape[1]).double())
    return d @ guess + d @ inverse @ x.T @ (targets - x @ guess)


def factors(score: InfluenceScore, index: GradientIndex, normalise: str | None) -> Tensor:
    """What a direction's inner product is multiplied with, ``[Q, N]``."""
    lengths = score.test_gradients(TESTS, TEST_LABELS).squares.double().sqrt()
    if normalise == "cos":
        return (1 / lengths)[:, None].expand(-1, COUNT)
    return index.norms.double().expand(len(TESTS), -1)


@pytest.mark.parametrize("normalise", [None, "cos"])
@pytest.mark.parametrize("at_once", [1, 2, 50])
def test_what_is_foretold_is_ridge_regression_on_directions(
    normalise: str | None, at_once: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(foretelling, "_AT_ONCE", at_once)
    score, index = made(tmp_path, normalise)
    scores = torch.randn(KNOWN.shape, generator=torch.Generator().manual_seed(0))
    tests = score.test_gradients(TESTS, TEST_LABELS)
    projected = index.project(tests)
    found = foretold(index, Scoring(score, tests), projected, KNOWN, scores)
    d, by = directions(index), factors(score, index, normalise)
    for question in range(len(TESTS)):
        known = KNOWN[question]
        targets = scores[question].double() / by[question, known]
        wanted = slowly(d, projected[question].double(), known, targets)
        torch.testing.assert_close(d @ found[question].double(), wanted, rtol=1e-4, atol=1e-5)


@pytest.mark.filterwarnings("ignore::captum_tfa.scores.score.ZeroGradientWarning")
def test_training_gradients_of_zero_foretell_nothing(tmp_path: Path) -> None:
    model = linear_and_conv()
    score = InfluenceScore(model, fit_curvature(model, data(), "ekfac"))
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.zero_()
        model.out.bias[0] = 200.0  # sure of itself: no gradient for its own class
    index = GradientIndex.build(score, data(), tmp_path, 24)
    still = (index.norms == 0).nonzero()[:, 0]
    assert 3 < len(still) < COUNT
    tests = score.test_gradients(TESTS[:1], torch.tensor([1]))
    projected = index.project(tests)
    found = foretold(index, Scoring(score, tests), projected, still[None, :3], torch.zeros(1, 3))
    assert found.tolist() == [[0.0] * 24]


@pytest.mark.parametrize("proponents", [True, False])
@pytest.mark.parametrize("normalise", [None, "cos"])
def test_rounds_score_what_the_rounds_before_foretell(
    normalise: str | None,
    proponents: bool,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    score, built = made(tmp_path, normalise)
    index = GradientIndex.open(tmp_path, data())
    ranked = FromIndex(score, [index], 8)
    exact = ranked.exact(TESTS, TEST_LABELS, torch.arange(COUNT))
    asked: list[Tensor] = []
    whole = candidates._own

    def kept(exact: Any, tests: Any, chosen: Tensor) -> Tensor:
        asked.append(chosen)
        return whole(exact, tests, chosen)

    monkeypatch.setattr(candidates, "_own", kept)
    indices, scores = ranked.best(TESTS, TEST_LABELS, 5, proponents, 18)
    assert [each.shape[1] for each in asked] == [5, 5, 5, 3]
    d, by = directions(built), factors(score, built, normalise)
    gradients = score.test_gradients(TESTS, TEST_LABELS)
    tests = built.project(gradients).double()
    first = Candidates(score, built).find(gradients, TESTS, TEST_LABELS, 18, proponents)[:, :5]
    for question in range(len(TESTS)):
        known = first[question].tolist()
        while len(known) < 18:
            targets = exact[question, known].double() / by[question, known]
            told = slowly(d, tests[question], torch.tensor(known), targets) * by[question]
            order = told.argsort(descending=proponents).tolist()
            known += [number for number in order if number not in known][: min(5, 18 - len(known))]
        assert torch.cat(asked, 1)[question].tolist() == known
        own = exact[question, known]
        order = own.argsort(descending=proponents, stable=True)[:5]
        assert sorted(indices[question].tolist()) == sorted(known[place] for place in order)
        torch.testing.assert_close(scores[question], own[order])


def test_many_candidates_are_scored_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    score, index = made(tmp_path, "cos")
    found = Candidates(score, index)
    assert found.in_rounds(COUNT - 1)
    assert not found.in_rounds(COUNT)
    monkeypatch.setattr(candidates, "_MOST_IN_ROUNDS", 9)
    assert not found.in_rounds(10)
