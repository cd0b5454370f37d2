"""`explain` with any score: its ranking and both of its maps."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from captum_tfa import GradCosScore, GradDotScore, InfluenceScore, TrainingGradient
from captum_tfa.curvature import fit_curvature
from captum_tfa.report import arguments, explain
from captum_tfa.scores import Score, TurnedRound
from tests.report.test_arguments import refused
from tests.report.tiny import TinyPictures, puzzling_picture, tiny_model


class Halves:
    """A diagonal in the place of a curvature: every second number counts half."""

    def __init__(self, model: nn.Module) -> None:
        self.names = tuple(name for name, _ in model.named_parameters())

    def solve(self, vectors: Mapping[str, Tensor]) -> dict[str, Tensor]:
        solved = {}
        for name, vector in vectors.items():
            flat = vector.flatten(1)
            weights = torch.ones(flat.shape[1])
            weights[::2] = 0.5
            solved[name] = (flat * weights).reshape(vector.shape)
        return solved


def _scores(model: nn.Module) -> dict[str, Score]:
    return {
        "grad-dot": GradDotScore(model),
        "influence (cos)": InfluenceScore(model, Halves(model)),
        "influence": InfluenceScore(model, Halves(model), None),
    }


@pytest.mark.parametrize("name", ["grad-dot", "influence (cos)", "influence"])
def test_any_score_ranks_and_is_mapped_on_both_sides(name: str) -> None:
    model, image, data = tiny_model(), puzzling_picture()[None], TinyPictures()
    score = _scores(model)[name]
    found = explain(model, data, image, 1, 2, 1, noise_level=0, score=score, method="gradient")
    assert found.settings["score"] == name
    labels = torch.tensor([data[index][1] for index in range(12)])
    images = torch.stack([data[index][0] for index in range(12)])
    expected = score(images, image, 1, labels).detach()
    assert [one.index for one in found.proponents] == expected.argsort(descending=True)[:2].tolist()
    for one in (*found.proponents, *found.opponents):
        assert one.score == pytest.approx(float(expected[one.index]), rel=1e-4, abs=1e-6)
        train = images[[one.index]]
        of_train = TrainingGradient(score).attribute(train, one.label, (image, 1))
        torch.testing.assert_close(one.map, of_train[0], rtol=1e-3, atol=1e-6)
        turned = TurnedRound(score)
        inner = float(turned(image, train, one.label, 1).detach())
        of_test = TrainingGradient(turned).attribute(image, 1, (train, one.label))
        expected_map = of_test[0] * one.score / inner
        torch.testing.assert_close(one.test_map, expected_map, rtol=1e-3, atol=1e-6)


def _given() -> dict[str, Any]:
    return {
        "model": tiny_model(),
        "train_dataset": TinyPictures(),
        "test_input": puzzling_picture(),
        "k": 1,
        "nt_samples": 2,
    }


def test_names_stand_for_scores_and_grad_cos_is_its_own_other_side() -> None:
    given = _given()
    by_name = explain(**given, score="grad-cos")
    own = explain(**given, score=GradCosScore(given["model"]))
    assert torch.equal(own.proponents[0].map, by_name.proponents[0].map)
    assert torch.equal(own.proponents[0].test_map, by_name.proponents[0].test_map)
    assert own.settings["curvature"] is None
    assert explain(**given, score="grad-dot").settings["score"] == "grad-dot"


def test_by_default_it_is_the_cosine_with_curvature_and_its_occlusion() -> None:
    given = _given()
    by_default = explain(**given)
    named = explain(**given, score="influence", method="occlusion")
    assert by_default.settings == named.settings
    assert by_default.settings["score"] == "influence (cos)"
    assert by_default.settings["curvature"] == "ekfac, damping 0.1, sampled labels"
    assert torch.equal(by_default.proponents[0].map, named.proponents[0].map)
    assert torch.equal(by_default.proponents[0].test_map, named.proponents[0].test_map)


def test_labels_are_the_datas_own_where_the_loss_does_not_say_how_to_draw_them() -> None:
    given = _given()
    smoothed = nn.CrossEntropyLoss(reduction="none", label_smoothing=0.1)
    found = explain(**given, loss_fn=smoothed)
    assert found.settings["curvature"] == "ekfac, damping 0.1, true labels"
    curvature = fit_curvature(
        given["model"], given["train_dataset"], labels="true", loss_fn=smoothed
    )
    score = InfluenceScore(given["model"], curvature, loss_fn=smoothed)
    expected = explain(**given, score=score)
    assert torch.equal(found.proponents[0].map, expected.proponents[0].map)


def test_a_measure_is_no_loss_so_the_curvature_is_that_of_cross_entropy() -> None:
    given = _given()
    found = explain(**given, loss_fn="logit")
    curvature = fit_curvature(given["model"], given["train_dataset"])
    expected = explain(**given, score=InfluenceScore(given["model"], curvature, loss_fn="logit"))
    for name in ("score", "curvature", "loss"):
        assert found.settings[name] == expected.settings[name]
    assert torch.equal(found.proponents[0].map, expected.proponents[0].map)


def test_the_fit_is_bounded_for_large_training_sets(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(arguments, "FITTED_TO", 5)
    given = _given()
    curvature = fit_curvature(given["model"], given["train_dataset"], max_examples=5)
    found = explain(**given)
    expected = explain(**given, score=InfluenceScore(given["model"], curvature))
    assert torch.equal(found.proponents[0].map, expected.proponents[0].map)


def test_scores_that_do_not_fit_are_refused() -> None:
    model = tiny_model()
    refused("score is 'cos'; it must be one of grad-cos, grad-dot", score="cos")
    refused("score is 3; it must be a name or a score", score=3)
    refused("score belongs to another model", score=GradDotScore(tiny_model()))
    refused(
        "output_fn and parameters and score are given",
        model=model,
        score=GradDotScore(model),
        output_fn=lambda out: out,
        parameters=["5"],
    )


def test_influence_by_name_fits_a_curvature_first() -> None:
    model, image, data = tiny_model(), puzzling_picture(), TinyPictures()
    found = explain(model, data, image, 1, 2, 1, score="influence")
    score = InfluenceScore(model, fit_curvature(model, data))  # type: ignore[arg-type]
    expected = explain(model, data, image, 1, 2, 1, score=score)
    assert found.settings["score"] == expected.settings["score"] == "influence (cos)"
    for one, other in zip(found.proponents, expected.proponents, strict=True):
        assert one.index == other.index
        torch.testing.assert_close(one.map, other.map, rtol=1e-3, atol=1e-6)
