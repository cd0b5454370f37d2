"""The tutorial on semantic weights, on a few small pictures."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.tutorials.running import run_tutorial
from tests.tutorials.shapes_tree import write_three_classes


@pytest.mark.slow
def test_weights_of_every_attribute_are_learned_and_measured(tmp_path: Path) -> None:
    write_three_classes(tmp_path / "data", train=20, test=12)
    seen = run_tutorial(
        "semantic_weights",
        data=tmp_path / "data",
        cache=tmp_path / "cache",
        out=tmp_path / "out",
        per_class=20,
        queries=8,
        share=0.3,
        epochs=1,
        k=5,
        steps=5,
        seeds=2,
    )
    for result in seen["results"]:
        for score in seen["SCORES"]:
            for weights in result[score]["weights"].values():
                assert sum(weights) == pytest.approx(1, abs=1e-5)
            for learned in ("equal", *seen["ATTRIBUTES"]):
                recall = result[score]["recall"][learned]
                assert set(recall) == set(seen["ATTRIBUTES"])
                assert all(0 <= value <= 1 for value in recall.values())
    page = (tmp_path / "out" / "semantic_weights.md").read_text()
    assert "own weights less equal" in page
    assert (tmp_path / "out" / "semantic_weights-weights.png").is_file()
