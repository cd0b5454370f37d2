"""Parts, their maps and what they are parts of add up; the figure shows each beside its bar."""

from __future__ import annotations

import io

import pytest
import torch

from captum_tfa import (
    GradCosScore,
    ParameterWeights,
    ScoreInfluence,
    TracInScore,
    draw_weights,
    explain_parts,
)
from captum_tfa.report.methods import METHODS
from captum_tfa.report.parts_figure import MOST_GROUPS
from captum_tfa.scores import Score
from tests.attr.comparing import left_as_found
from tests.report.test_figure import texts
from tests.report.tiny import TinyPictures, puzzling_picture, tiny_model
from tests.scores.test_tracin import states

MODEL = tiny_model()


def scores() -> list[Score]:
    return [GradCosScore(MODEL), TracInScore(MODEL, states(MODEL)[:2], [0.2, 0.1])]


@pytest.mark.parametrize("number", [0, 1])
@pytest.mark.parametrize("method", ["gradient", "integrated_gradients", "occlusion"])
def test_parts_and_their_maps_add_up(number: int, method: str) -> None:
    score = scores()[number]
    with left_as_found(MODEL):
        found = explain_parts(
            score, TinyPictures(), puzzling_picture(), 1, k=2, method=method, nt_samples=2
        )
    assert found.groups == ("0", "1", "5")
    best = ScoreInfluence(score, TinyPictures()).influence((puzzling_picture()[None], [1]), 2)
    assert [example.index for example in found.examples] == best.indices[0].tolist()
    for example, value in zip(found.examples, best.influence_scores[0], strict=True):
        assert example.score == pytest.approx(float(value), rel=1e-5)
        assert float(example.parts.sum()) == pytest.approx(example.score, rel=1e-4)
        assert example.maps.shape == (3, 8, 8)
        if METHODS[method].signed:
            torch.testing.assert_close(example.maps.sum(0), example.map, rtol=1e-3, atol=1e-5)
        else:
            assert bool((example.maps.sum(0) >= example.map * (1 - 1e-4)).all())
    assert number == 1 or example.parts.abs().max() < 1


def test_opponents_and_groups_of_ones_own() -> None:
    own = {"features": ["0", "1"], "head": ["5"]}
    found = explain_parts(
        scores()[0], TinyPictures(), puzzling_picture(), by_group=own, k=1, proponents=False
    )
    assert found.groups == ("features", "head")
    assert found.examples[0].score < 0


@pytest.mark.parametrize("method", ["gradient", "occlusion"])
def test_figure_has_a_map_and_a_bar_for_every_group_of_every_image(method: str) -> None:
    found = explain_parts(
        scores()[0], TinyPictures(), puzzling_picture(), 1, k=2, method=method, nt_samples=1
    )
    figure = found.plot()
    bars = [axes for axes in figure.get_axes() if axes.patches and not axes.images]
    heights = [axes.patches[0].get_height() for axes in bars if axes.get_xlim() == (-0.6, 0.6)]
    expected = [value for each in found.examples for value in (each.score, *each.parts.tolist())]
    assert heights == pytest.approx(expected)
    assert sum(len(axes.images) == 2 for axes in figure.get_axes()) == 2 * 4
    words = texts(figure)
    assert "why “bee”?" in words
    assert f"#{found.examples[0].index}" in words
    assert "whole network" in words
    file = io.BytesIO()
    figure.savefig(file, dpi=30)
    assert file.getvalue()


def test_of_many_groups_the_largest_are_drawn(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("captum_tfa.report.parts_figure.MOST_GROUPS", 2)
    assert MOST_GROUPS > 2
    found = explain_parts(
        scores()[0], TinyPictures(), puzzling_picture(), 1, k=1, method="gradient", nt_samples=1
    )
    words = texts(found.plot())
    assert "the 2 largest of 3 groups" in words
    least = int(found.examples[0].parts.abs().argmin())
    assert f"\n{found.groups[least]}\n" not in words


def test_what_cannot_be_explained_is_refused() -> None:
    with pytest.raises(TypeError, match="score is a Sequential"):
        explain_parts(MODEL, TinyPictures(), puzzling_picture())  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="k is 0"):
        explain_parts(scores()[0], TinyPictures(), puzzling_picture(), k=0)
    with pytest.raises(ValueError, match="leaves out"):
        explain_parts(scores()[0], TinyPictures(), puzzling_picture(), by_group=["5"])
    with pytest.raises(ValueError, match="method is 'none'"):
        explain_parts(scores()[0], TinyPictures(), puzzling_picture(), method="none")


def test_weights_are_drawn_by_layer() -> None:
    groups = {"conv": ("a",), "fc": ("b",)}
    one = ParameterWeights(groups, (0.9, 0.1))
    axes = draw_weights(one).get_axes()[0]
    assert [patch.get_width() for patch in axes.patches] == [0.9, 0.1]
    assert [label.get_text() for label in axes.get_yticklabels()] == ["conv", "fc"]
    both = draw_weights({"class": one, "cue": ParameterWeights(groups, (0.2, 0.8))})
    widths = [patch.get_width() for patch in both.get_axes()[0].patches]
    assert widths == [0.9, 0.1, 0.2, 0.8]
    assert {"class", "cue"} <= set(texts(both).split("\n"))
    with pytest.raises(ValueError, match="weights is empty"):
        draw_weights({})
    with pytest.raises(ValueError, match="other groups each"):
        draw_weights({"a": one, "b": ParameterWeights({"x": ("a",)}, (1.0,))})
