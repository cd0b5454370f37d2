from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.utils.data import TensorDataset

from captum_tfa import (
    EnsembleScore,
    GradCosScore,
    GradDotScore,
    GradientIndex,
    ScoreInfluence,
)
from captum_tfa.index import build_parts
from captum_tfa.index.lists import Lists
from captum_tfa.influence.candidates import Candidates
from captum_tfa.scores import Score
from tests.index.clustered import clustered, index_of_clusters
from tests.influence.every_score import every_score
from tests.influence.tiny_sets import linear_and_conv

COUNT = 170
QUESTION = clustered(5, 2)


def data(count: int = COUNT) -> TensorDataset:
    return TensorDataset(*clustered(count, 1))


SCORES = every_score(data)


@pytest.mark.parametrize("proponents", [True, False])
@pytest.mark.parametrize("name", SCORES)
def test_with_every_list_candidates_are_those_of_the_whole_index(
    name: str, proponents: bool, tmp_path: Path
) -> None:
    score: Score = SCORES[name]()
    index = index_of_clusters(tmp_path, COUNT)
    asked = score.test_gradients(*QUESTION), *QUESTION, 9, proponents
    found = Candidates(score, index, Lists(index, share=1.0)).find(*asked)
    assert torch.equal(found, Candidates(score, index).find(*asked))


@pytest.mark.parametrize("proponents", [True, False])
@pytest.mark.parametrize("name", SCORES)
def test_scores_are_exact_and_in_their_order(name: str, proponents: bool, tmp_path: Path) -> None:
    score: Score = SCORES[name]()
    exact = ScoreInfluence(score, data()).influence(QUESTION)
    index = index_of_clusters(tmp_path, COUNT)
    influence = ScoreInfluence(score, index, rerank=15, approximate=True)
    found = influence.influence(QUESTION, 5, proponents)
    wanted = exact.gather(1, found.indices)
    torch.testing.assert_close(found.influence_scores, wanted, rtol=1e-9, atol=1e-12)
    assert torch.equal(
        wanted.argsort(dim=1, descending=proponents, stable=True)[0], torch.arange(5)
    )


def test_without_reranking_scores_are_estimates_from_the_projections(tmp_path: Path) -> None:
    score = GradDotScore(linear_and_conv())
    index_of_clusters(tmp_path, COUNT)
    for index, rerank in (
        (GradientIndex.open(tmp_path, data()), 0),
        (GradientIndex.open(tmp_path), 9),
    ):
        influence = ScoreInfluence(score, index, rerank=rerank, approximate=True)
        found = influence.influence(QUESTION, 4)
        estimates = influence.influence(QUESTION)
        assert estimates.shape == (5, COUNT)
        torch.testing.assert_close(
            found.influence_scores, estimates.gather(1, found.indices), rtol=1e-5, atol=1e-7
        )


@pytest.mark.parametrize("name", ["grad-cos", "grad-dot"])
def test_most_of_the_best_are_found_where_there_are_clusters(name: str, tmp_path: Path) -> None:
    score: Score = SCORES[name]()
    index = index_of_clusters(tmp_path, 600)
    influence = ScoreInfluence(score, index, rerank=40, approximate=True)
    exact = ScoreInfluence(score, data(600)).influence(QUESTION)
    wanted = exact.topk(10).indices.tolist()
    found = influence.influence(QUESTION, 10).indices.tolist()
    shares = [len(set(a) & set(b)) / 10 for a, b in zip(found, wanted, strict=True)]
    assert influence.recall(QUESTION, 10).tolist() == pytest.approx(shares)
    assert sum(shares) / 5 >= 0.9


def test_a_sum_is_refused(tmp_path: Path) -> None:
    score = EnsembleScore([GradCosScore(linear_and_conv()), GradCosScore(linear_and_conv())])
    indices = build_parts(score, data(), tmp_path, dimension=16)
    with pytest.raises(ValueError, match=r"sum over several indices.*leave approximate out"):
        ScoreInfluence(score, indices, approximate=True)


def test_a_data_set_is_refused() -> None:
    with pytest.raises(ValueError, match="An approximate search needs an index"):
        ScoreInfluence(GradCosScore(linear_and_conv()), data(), approximate=True)


def test_other_than_yes_or_no_is_refused(tmp_path: Path) -> None:
    index: Any = index_of_clusters(tmp_path, 20)
    share: Any = 0.5
    with pytest.raises(TypeError, match="approximate is a float; it must be True or False"):
        ScoreInfluence(GradCosScore(linear_and_conv()), index, approximate=share)


def test_without_faiss_the_extra_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    index = index_of_clusters(tmp_path, 20)
    monkeypatch.setitem(sys.modules, "faiss", None)
    with pytest.raises(ImportError, match=r'pip install "captum_tfa\[faiss\]"'):
        ScoreInfluence(GradCosScore(linear_and_conv()), index, approximate=True)
    ScoreInfluence(GradCosScore(linear_and_conv()), index)
