"""The tutorial with two cues, on a few small pictures."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.tutorials.running import run_tutorial
from tests.tutorials.shapes_tree import write_three_classes


@pytest.mark.slow
def test_every_setup_score_kind_and_map_is_read(tmp_path: Path) -> None:
    write_three_classes(tmp_path / "data", train=40, test=8)
    seen = run_tutorial(
        "two_cues",
        data=tmp_path / "data",
        cache=tmp_path / "cache",
        out=tmp_path / "out",
        per_class=40,
        epochs=4,
        tests=1,
        ranked=20,
        mapped=1,
        samples=2,
        fitted=8,
        gradients=(4, 8),
        seeds=1,
        tints_seeds=1,
    )
    asked = [run for runs in seen["found"].values() for run in runs if run["asked"]]
    assert asked, "no test image is fooled by both cues, so nothing was read"
    for run in asked:
        for aucs in (*run["aucs"].values(), *run["kinds"].values()):
            assert len(aucs) == 2  # one test image with either cue
            assert all(0 <= auc <= 1 for auc in aucs)
        assert len(run["kinds"]) == 3 * len(run["seconds"]) == 3 * 5
        # Of a cosine the loss and the margin of the test image are one.
        loss, margin = (run["aucs"][f"grad-cos{how}"] for how in ("", ", margin of the test image"))
        assert loss == pytest.approx(margin, abs=0.02)
        for name, (own, right, mass) in run["maps"].items():
            assert 0 <= own[0] <= 1
            assert 0 <= mass[0] <= 1
            if name.startswith("own label"):
                assert (own[0], right[0]) == (0.5, 0.5)
        # What is removed is found whole by no map, but by the maps' own measure.
        assert set(run["parts"]) == {"grad-cos", "influence, cosine"}
        for parts in run["parts"].values():
            assert all(0 <= above <= 1 for above, _, _ in parts.values())
    page = (tmp_path / "out" / "two_cues.md").read_text()
    for part in ("AUC of", "ekfac, damping 0.1", "**removal**", "Why maps go wrong"):
        assert part in page
