"""The tutorial on XtrAIn on digits, in a few small trainings."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.tutorials.running import run_tutorial


@pytest.mark.slow
def test_every_method_is_measured_on_every_canvas(tmp_path: Path) -> None:
    seen = run_tutorial(
        "xtrain_digits",
        out=tmp_path / "out",
        cache=tmp_path / "cache",
        train=100,
        epochs=2,
        explained=2,
        roar_train=60,
        roar_tests=20,
        seeds=1,
    )
    for kind, (one,) in seen["canvases"].items():
        for name, of in one["of"].items():
            assert 0 <= of["deletion"] <= 1
            if kind != "8x8":
                assert 0 <= of["clean"] <= 1, name
    (table,) = seen["tables"]
    assert table["class 0 only"]["logit 1"][1] == 0  # no step raised what was never taught
    page = (tmp_path / "out" / "xtrain_digits.md").read_text()
    assert "Training without the pixels" in page
