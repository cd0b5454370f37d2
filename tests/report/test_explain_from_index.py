"""`explain` with an index: the ranking is shorter, what is shown is the same."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from captum_tfa import EnsembleScore, GradCosScore, GradDotScore, GradientIndex, TracInScore
from captum_tfa.index import build_parts
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


MODEL = tiny_model()


def moved(number: int) -> dict[str, torch.Tensor]:
    draw = torch.Generator().manual_seed(number)
    return {
        name: tensor + 0.1 * torch.randn(tensor.shape, generator=draw)
        if tensor.is_floating_point()
        else tensor
        for name, tensor in tiny_model().state_dict().items()
    }


def tracin(count: int = 3) -> TracInScore:
    return TracInScore(MODEL, [moved(number) for number in range(count)], [0.1, 0.02, 0.3][:count])


def ensemble() -> EnsembleScore:
    other = tiny_model()
    other.load_state_dict(moved(1))
    return EnsembleScore([GradCosScore(MODEL), GradCosScore(other)])


def ensemble_of_tracin() -> EnsembleScore:
    return EnsembleScore([tracin(2), GradCosScore(MODEL)])


def explained_by(score: Any, index: Any, **changes: Any) -> Any:
    arguments = {"k": 3, "nt_samples": 1, "method": "gradient", "score": score, **changes}
    return explain(MODEL, TinyPictures(30), puzzling_picture(), 1, index=index, **arguments)


def told(found: Any) -> list[Any]:
    """All that an explanation says of training images, as numbers to the last bit."""
    return [
        (one.index, one.score, one.label, one.map.tolist(), one.test_map.tolist())
        for one in (*found.proponents, *found.opponents)
    ]


@pytest.mark.parametrize("kind", ["indices", "tuple", "folders", "folder", "name"])
@pytest.mark.parametrize("make", [tracin, ensemble, ensemble_of_tracin])
def test_of_a_sum_examples_scores_and_maps_are_those_without_an_index(
    make: Any, kind: str, tmp_path: Path
) -> None:
    score = make()
    # So few numbers that candidates by estimate alone would be others.
    indices = build_parts(score, TinyPictures(30), tmp_path, dimension=4)
    given: Any = {
        "indices": indices,
        "tuple": tuple(indices),
        "folders": [str(each.folder) for each in indices],
        "folder": tmp_path,
        "name": str(tmp_path),
    }[kind]
    found, wanted = explained_by(score, given), explained_by(score, None)
    assert len(wanted.proponents) == len(wanted.opponents) == 3
    for one, other in zip(told(found), told(wanted), strict=True):
        assert one[0] == other[0]
        assert one[1] == pytest.approx(other[1], rel=1e-5)
        assert one[2:] == other[2:]
    words = f"4 numbers an example of each of {len(indices)} parts"
    assert found.settings == {**wanted.settings, "index": words}
    assert (found.answers, found.label) == (wanted.answers, wanted.label)


def test_indices_that_are_not_those_of_the_sum_are_refused(tmp_path: Path) -> None:
    score = tracin()
    indices = build_parts(score, TinyPictures(30), tmp_path / "sum", dimension=8)
    one = GradientIndex.build(GradDotScore(MODEL), TinyPictures(30), tmp_path / "one", 8)
    for single in (one, tmp_path / "one", [one]):
        with pytest.raises(ValueError, match=r"1 index was given for the 3 parts .*build_parts"):
            explained_by(score, single)
    with pytest.raises(ValueError, match="2 indices were given for the 3 parts of a TracInScore"):
        explained_by(score, indices[:2])
    with pytest.raises(ValueError, match="0 indices were given for the 3 parts of a TracInScore"):
        explained_by(score, [])
    with pytest.raises(ValueError, match="3 indices were given for the 2 parts of a TracInScore"):
        explained_by(tracin(2), tmp_path / "sum")
    with pytest.raises(ValueError, match=r"Part 1 of 3 of the TracInScore: .* order of the parts"):
        explained_by(score, indices[::-1])
    for several in (indices, tmp_path / "sum"):
        for name in ("grad-cos", "influence", GradCosScore(MODEL)):
            with pytest.raises(ValueError, match="3 indices were given for a score that is no sum"):
                explained_by(name, several)
    build_parts(score, TinyPictures(29), tmp_path / "less", dimension=8)
    for less in (tmp_path / "less", [tmp_path / "less" / "000", *indices[1:]]):
        with pytest.raises(ValueError, match="count 29, and count 30"):
            explained_by(score, less)
    with pytest.raises(FileNotFoundError, match="one for each part of a sum"):
        explained_by(score, [tmp_path / "sum"])


@pytest.mark.parametrize("index", [3, [None]])
def test_what_is_no_index_is_refused(index: Any) -> None:
    with pytest.raises(ValueError, match="it must be a GradientIndex or its folder, or for a sum"):
        explained(index)


def test_before_a_curvature_is_fitted_the_index_is_compared(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fit(*_: object, **__: object) -> None:
        raise AssertionError("fitted")

    monkeypatch.setattr("captum_tfa.report.arguments.fit_curvature", fit)
    build(tmp_path / "margin", loss_fn="margin")
    with pytest.raises(ValueError, match="built with loss"):
        explained(tmp_path / "margin", score="influence")


def test_by_default_the_index_is_of_the_same_gradients(tmp_path: Path) -> None:
    build(tmp_path)
    found = explained(tmp_path, score=None, k=1)
    assert found.settings["score"] == explained(None, score=None, k=1).settings["score"]
    chosen = build(tmp_path / "chosen", parameters=["5.weight"])
    assert explained(chosen, score=None, k=1, parameters=["5.weight"]).proponents
