"""The tutorial with two cues, on a few small pictures."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.tutorials.running import run_tutorial
from tests.tutorials.shapes_tree import write_three_classes


@pytest.mark.slow
def test_every_setup_score_and_map_is_read(tmp_path: Path) -> None:
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
    asked = [run for runs in seen["found"].values() for run in runs if run["maps"]]
    assert asked, "no test image is fooled by both cues, so nothing was read"
    for run in asked:
        assert all(0 <= auc <= 1 for aucs in run["aucs"].values() for auc in aucs)
        for name, (own, right, mass) in run["maps"].items():
            assert 0 <= own <= 1
            assert 0 <= mass <= 1
            if name.startswith("own label"):
                assert (own, right) == (0.5, 0.5)
    assert "AUC of" in (tmp_path / "out" / "two_cues.md").read_text()
