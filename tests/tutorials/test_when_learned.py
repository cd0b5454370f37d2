"""The tutorial on when something was learned: its splits sum to the change of the logit."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.tutorials.running import run_tutorial


def test_every_split_is_of_the_whole_change(tmp_path: Path) -> None:
    seen = run_tutorial("when_learned", out=tmp_path, epochs=5, mapped=2, seeds=1)
    (one,) = seen["runs"]
    assert one["told by examples"] == pytest.approx(one["change"], rel=1e-3)
    assert one["told by layers"] == pytest.approx(one["change"], rel=1e-3)
    assert one["of cued"] > 2 * one["cued"]
    assert (tmp_path / "when_learned-one-picture.png").is_file()
