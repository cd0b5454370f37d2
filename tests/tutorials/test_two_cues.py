"""The tutorial with two cues, on a few small pictures."""

from __future__ import annotations

from pathlib import Path

from tests.tutorials.running import run_tutorial
from tests.tutorials.shapes_tree import write_three_classes


def test_every_score_and_map_is_read(tmp_path: Path) -> None:
    write_three_classes(tmp_path / "data", train=40, test=12)
    seen = run_tutorial(
        "two_cues",
        data=tmp_path / "data",
        cache=tmp_path / "cache",
        out=tmp_path / "out",
        per_class=40,
        epochs=4,
        tests=2,
        mapped=2,
        samples=2,
        fitted=20,
        seeds=1,
    )
    assert len(seen["facts"]) == 2
    for (_, name, _), values in seen["rows"].items():
        for own, right, mass in values:
            assert 0 <= own <= 1
            assert 0 <= mass <= 1
            if name == "own label":
                assert (own, right) == (0.5, 0.5)
    assert all(0 <= value <= 1 for values in seen["aucs"].values() for value in values)
    assert "AUC of" in (tmp_path / "out" / "two_cues.md").read_text()
