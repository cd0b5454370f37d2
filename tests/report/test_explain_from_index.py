"""`explain` with an index: the ranking is shorter, what is shown is the same."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from captum_tfa import GradCosScore, GradDotScore, GradientIndex
from captum_tfa.report import explain
from tests.report.tiny import TinyPictures, puzzling_picture, tiny_model


def explained(index: Any, **changes: Any) -> Any:
    arguments = {"k": 2, "nt_samples": 1, "method": "gradient", "score": "grad-cos", **changes}
    return explain(tiny_model(), TinyPictures(30), puzzling_picture(), 1, index=index, **arguments)


def build(folder: Path, **changes: Any) -> GradientIndex:
    return GradientIndex.build(
        GradDotScore(tiny_model(), **changes), TinyPictures(30), folder, dimension=64
    )


@pytest.mark.parametrize("score", ["grad-cos", "grad-dot"])
@pytest.mark.parametrize("kind", ["index", "folder", "name"])
def test_examples_scores_and_maps_are_those_without_an_index(
    score: str, kind: str, tmp_path: Path
) -> None:
    index = build(tmp_path)
    given = {"index": index, "folder": tmp_path, "name": str(tmp_path)}[kind]
    found, wanted = explained(given, score=score), explained(None, score=score)
    for side in ("proponents", "opponents"):
        for one, other in zip(getattr(found, side), getattr(wanted, side), strict=True):
            assert one.index == other.index
            assert one.score == pytest.approx(other.score, rel=1e-5)
            assert one.label == other.label
            torch.testing.assert_close(one.map, other.map)
    assert found.settings["index"] == "64 numbers an example"
    assert wanted.settings["index"] is None


def test_an_index_of_something_else_is_refused(tmp_path: Path) -> None:
    build(tmp_path / "margin", loss_fn="margin")
    with pytest.raises(ValueError, match="built with loss"):
        explained(tmp_path / "margin")
    GradientIndex.build(GradCosScore(tiny_model()), TinyPictures(29), tmp_path / "less")
    with pytest.raises(ValueError, match="count 29, and count 30"):
        explained(tmp_path / "less")
    with pytest.raises(FileNotFoundError, match="holds no index"):
        explained(tmp_path / "nothing")
