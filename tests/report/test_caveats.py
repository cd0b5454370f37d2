from __future__ import annotations

import pytest

from captum_tfa.report import caveats
from captum_tfa.report.methods import METHODS
from tests.report.tiny import explanation


def said(**changes: object) -> str:
    given = explanation(**changes)
    return " ".join([*caveats.of_scores(given), *caveats.of_maps(given)])


def test_each_is_one_sentence() -> None:
    given = explanation(more_methods=tuple(METHODS.values())[1:], settings={"score": "grad-dot"})
    for sentence in (*caveats.of_scores(given), *caveats.of_maps(given)):
        assert sentence[0].isupper()
        assert sentence.endswith(".")
        assert ". " not in sentence


@pytest.mark.parametrize("name", METHODS)
def test_every_method_has_its_own(name: str) -> None:
    others = [said(method=method) for other, method in METHODS.items() if other != name]
    own = caveats._BY_METHOD[name]
    assert own in said(method=METHODS[name])
    assert not any(own in other for other in others)


def test_they_stand_only_where_they_matter() -> None:
    assert "without curvature" in said(settings={"score": "grad-cos"})
    assert "without curvature" not in said(settings={"score": "influence (cos)"})
    assert "cannot be compared" in said(settings={"score": "grad-dot"})
    assert "cannot be compared" not in said(settings={"score": "grad-cos"})
    assert "estimates of an index" in said(settings={"index": "8 numbers an example"})
    assert "estimates of an index" not in said(settings={"index": None})
    assert "grid of their patches" in said(settings={"model": "VisionTransformer"})
    assert "grid of their patches" not in said(settings={"model": "ResNet"})
    assert "noise that smooths" in said(method=METHODS["gradient"])
    assert "noise that smooths" not in said(method=METHODS["occlusion"])
