"""The tutorial on when a patch is learned, on a few small pictures."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.tutorials.running import run_tutorial
from tests.tutorials.shapes_tree import write_three_classes


@pytest.mark.slow
def test_every_state_is_read_and_the_animation_is_written(tmp_path: Path) -> None:
    write_three_classes(tmp_path / "data", train=16, test=4)
    seen = run_tutorial(
        "xtrain_patch",
        data=tmp_path / "data",
        cache=tmp_path / "cache",
        out=tmp_path / "out",
        per_class=16,
        tests=2,
        measured=12,
        epochs=2,
        every=1,
        points=1,
        seeds=1,
    )
    (one,) = seen["runs"]
    for values in (one["accuracy"], one["fooled"], *one["shares"].values()):
        assert len(values) == len(one["steps"])
        assert all(0 <= value <= 1 for value in values)
    page = (tmp_path / "out" / "xtrain_patch.md").read_text()
    assert "share: integrated XtrAIn" in page
    assert (tmp_path / "out" / "xtrain_patch-forming.gif").read_bytes()[:3] == b"GIF"
