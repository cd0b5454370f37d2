from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils.data import TensorDataset

from captum_tfa import (
    EnsembleScore,
    GradCosScore,
    GradDotScore,
    GradientIndex,
    ScoreInfluence,
    TracInScore,
)
from captum_tfa.index import build_parts
from captum_tfa.index.search import best_of
from captum_tfa.scores import Score
from tests.influence.every_score import curved, every_score
from tests.influence.tiny_sets import TEST_LABELS, TESTS, images, linear_and_conv

COUNT = 60
QUESTION = (TESTS, TEST_LABELS)


def data() -> TensorDataset:
    return TensorDataset(images(COUNT, 1), torch.arange(COUNT) % 3)


def index_of(score: Score, folder: Path, dimension: int = 4096) -> GradientIndex:
    return GradientIndex.build(score, data(), folder, dimension, shard_size=24, precision="float32")


SCORES = every_score(data)
SCORES["logit"] = lambda: GradCosScore(linear_and_conv(), measure_fn="logit")


def gathered(exact: Tensor, indices: Tensor) -> Tensor:
    return exact.gather(1, indices)


@pytest.mark.parametrize("proponents", [True, False])
@pytest.mark.parametrize("name", SCORES)
def test_the_best_have_exact_scores_and_are_the_exact_ranking_s(
    name: str, proponents: bool, tmp_path: Path
) -> None:
    score = SCORES[name]()
    exact = ScoreInfluence(score, data()).influence(QUESTION)
    index = index_of(GradCosScore(linear_and_conv()), tmp_path, 1024)  # one serves every score
    found = ScoreInfluence(score, index, rerank=20).influence(QUESTION, 5, proponents)
    torch.testing.assert_close(
        found.influence_scores, gathered(exact, found.indices), rtol=1e-9, atol=1e-12
    )
    wanted = exact.argsort(dim=1, descending=proponents, stable=True)[:, :5]
    assert torch.equal(found.indices, wanted)


@pytest.mark.parametrize("name", SCORES)
def test_estimates_of_all_are_near_the_exact_scores(name: str, tmp_path: Path) -> None:
    score = SCORES[name]()
    exact = ScoreInfluence(score, data()).influence(QUESTION)
    index = index_of(GradCosScore(linear_and_conv()), tmp_path)
    estimated = ScoreInfluence(score, index).influence(QUESTION)
    assert estimated.shape == exact.shape
    assert float((estimated - exact).norm() / exact.norm()) < 0.3


def test_without_its_data_an_index_gives_estimates(tmp_path: Path) -> None:
    score = GradCosScore(linear_and_conv())
    index_of(score, tmp_path)
    influence = ScoreInfluence(score, GradientIndex.open(tmp_path))
    found = influence.influence(QUESTION, 4)
    estimates = influence.influence(QUESTION)
    wanted = estimates.argsort(dim=1, descending=True, stable=True)[:, :4]
    assert torch.equal(found.indices, wanted)
    torch.testing.assert_close(found.influence_scores, gathered(estimates, wanted))
    with pytest.raises(ValueError, match="opened with its data set"):
        influence.recall(QUESTION)


def test_rerank_0_gives_estimates_and_a_k_above_rerank_is_exact(tmp_path: Path) -> None:
    score = GradCosScore(linear_and_conv())
    exact = ScoreInfluence(score, data()).influence(QUESTION)
    index = index_of(score, tmp_path, 32)
    none = ScoreInfluence(score, index, rerank=0).influence(QUESTION, 3)
    assert not torch.allclose(none.influence_scores.double(), gathered(exact, none.indices))
    all_of_them = ScoreInfluence(score, index, rerank=2).influence(QUESTION, COUNT + 5)
    assert torch.equal(all_of_them.indices, exact.argsort(dim=1, descending=True, stable=True))


def test_recall_is_the_share_of_the_exact_best_that_is_found(tmp_path: Path) -> None:
    score = GradCosScore(linear_and_conv())
    exact = ScoreInfluence(score, data()).influence(QUESTION, 10).indices
    influence = ScoreInfluence(score, index_of(score, tmp_path, 8), rerank=0)
    found = influence.influence(QUESTION, 10).indices
    expected = [
        len(set(one.tolist()) & set(other.tolist())) / 10
        for one, other in zip(found, exact, strict=True)
    ]
    recall = influence.recall(QUESTION, 10)
    torch.testing.assert_close(recall, torch.tensor(expected))
    assert float(recall.min()) < 1
    assert ScoreInfluence(score, influence._index.indices[0], rerank=COUNT).recall(  # type: ignore[union-attr]
        QUESTION
    ).tolist() == [1] * len(TESTS)


def test_without_labels_the_model_s_prediction_is_asked(tmp_path: Path) -> None:
    score = GradDotScore(linear_and_conv())
    index = index_of(score, tmp_path)
    found = ScoreInfluence(score, index).influence(TESTS, 3)
    wanted = ScoreInfluence(score, data()).influence(TESTS, 3)
    assert torch.equal(found.indices, wanted.indices)


@pytest.mark.parametrize("name", ["grad-cos", "grad-dot"])
def test_self_influence_is_exact(name: str, tmp_path: Path) -> None:
    score = SCORES[name]()
    index = index_of(score, tmp_path, 4)
    found = ScoreInfluence(score, index).self_influence()
    exact = ScoreInfluence(score, data()).self_influence()
    torch.testing.assert_close(found.double(), exact, rtol=1e-6, atol=0)


def test_self_influence_by_another_measure_is_refused(tmp_path: Path) -> None:
    score = SCORES["logit"]()
    with pytest.raises(ValueError, match="needs two gradients"):
        ScoreInfluence(score, index_of(score, tmp_path, 4)).self_influence()


@pytest.mark.parametrize("normalise", ["theta", "ell"])
def test_scores_that_need_more_of_a_gradient_are_refused(normalise: str, tmp_path: Path) -> None:
    score = curved(data(), normalise)
    index = index_of(GradCosScore(score.model), tmp_path)
    with pytest.raises(TypeError, match="RelatIF does"):
        ScoreInfluence(score, index).influence(QUESTION, 1)
    with pytest.raises(TypeError, match="RelatIF does"):
        ScoreInfluence(score, index).self_influence()


def states() -> list[dict[str, Tensor]]:
    found = []
    for number in range(3):
        state = linear_and_conv().state_dict()
        draw = torch.Generator().manual_seed(number)
        found.append(
            {
                name: tensor + 0.1 * torch.randn(tensor.shape, generator=draw, dtype=tensor.dtype)
                for name, tensor in state.items()
            }
        )
    return found


def tracin() -> TracInScore:
    return TracInScore(linear_and_conv(), states(), [0.1, 0.02, 0.3])


def ensemble() -> EnsembleScore:
    scores = []
    for state in states()[:2]:
        model = linear_and_conv()
        model.load_state_dict(state)
        scores.append(GradCosScore(model))
    return EnsembleScore(scores)


@pytest.mark.parametrize("make", [tracin, ensemble])
def test_a_sum_of_scores_has_an_index_for_each_part(make: Any, tmp_path: Path) -> None:
    score = make()
    indices = build_parts(
        score, data(), tmp_path, dimension=4096, precision="float32", shard_size=50
    )
    assert len({index.settings.model for index in indices}) == len(indices)
    exact = ScoreInfluence(score, data())
    for question in (QUESTION, TESTS):
        found = ScoreInfluence(score, indices, rerank=20).influence(question, 4)
        wanted = exact.influence(question, 4)
        assert torch.equal(found.indices, wanted.indices)
        torch.testing.assert_close(found.influence_scores, wanted.influence_scores)
    own = ScoreInfluence(score, indices).self_influence()
    torch.testing.assert_close(own.double(), exact.self_influence(), rtol=1e-5, atol=1e-9)
    with pytest.raises(ValueError, match="give one for each, in their order"):
        ScoreInfluence(score, indices[:-1])
    with pytest.raises(ValueError, match=r"give one for each|another one"):
        ScoreInfluence(score, [*indices, indices[0]])
    with pytest.raises(ValueError, match="built with model"):
        ScoreInfluence(score, indices[::-1])


def test_projections_of_the_parts_average_out_their_noise(tmp_path: Path) -> None:
    """Of the same model thrice: one projection would make the same error three times."""
    score = EnsembleScore([GradDotScore(linear_and_conv()) for _ in range(9)])
    exact = ScoreInfluence(score, data()).influence(TESTS)
    indices = build_parts(score, data(), tmp_path, dimension=64, seed=5)
    assert [index.settings.seed for index in indices] == list(range(5, 14))
    errors = [
        float((ScoreInfluence(part, place).influence(TESTS) - exact).square().mean())
        for part, place in zip(score.scores, indices, strict=True)
    ]
    together = ScoreInfluence(score, indices).influence(TESTS) - exact
    assert float(together.square().mean()) < 2 * sum(errors) / len(errors) / len(errors)


def test_groups_and_images_without_a_batch_are_refused(tmp_path: Path) -> None:
    score = GradCosScore(linear_and_conv())
    influence = ScoreInfluence(score, index_of(score, tmp_path, 4))
    with pytest.raises(ValueError, match="knows no groups"):
        influence.influence(QUESTION, 2, by_group="layer")
    with pytest.raises(ValueError, match="unsqueeze"):
        influence.influence((TESTS[0], TEST_LABELS[:1]), 2)


def test_build_parts_is_for_sums(tmp_path: Path) -> None:
    with pytest.raises(TypeError, match="no sum of scores"):
        build_parts(GradCosScore(linear_and_conv()), data(), tmp_path)


@pytest.mark.parametrize("rerank", [-1, 2.5, True])
def test_a_wrong_rerank_is_refused(rerank: Any, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="rerank is"):
        ScoreInfluence(GradCosScore(linear_and_conv()), data(), rerank=rerank)


@pytest.mark.parametrize("highest", [True, False])
def test_the_best_of_a_stream_are_those_of_a_stable_sort(highest: bool) -> None:
    draw = torch.Generator().manual_seed(0)
    scores = torch.randint(-3, 4, (5, 200), generator=draw).float() / 3
    scores[0] *= 0  # nothing but ties
    scores[1] *= -0.0
    for size in (1, 7, 200):
        found = best_of(iter(scores.split(size, 1)), 30, highest)
        order = scores.argsort(dim=1, descending=highest, stable=True)[:, :30]
        assert torch.equal(found.indices, order)
        assert torch.equal(found.scores, scores.gather(1, order))


def test_the_best_of_nothing_is_refused() -> None:
    with pytest.raises(ValueError, match="nothing to rank"):
        best_of(iter([]), 1, True)
