"""A tutorial run by a test sees what its script would see, and leaves nothing behind."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest
import torch

from tests.tutorials import running

SCRIPT = """
import os, sys
import torch
from common.settings import settings
run = settings(images=500, name="x", plots=True, sides=(1, 2))
folder, argv, path, main = os.getcwd(), list(sys.argv), list(sys.path), __name__
open("written", "w").close()
torch.manual_seed(0)
if run.images < 0:
    raise KeyError(run.images)
"""


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "script.py").write_text(SCRIPT)
    monkeypatch.setattr(running, "TUTORIALS", tmp_path)
    return tmp_path


def state() -> list[object]:
    return [list(sys.path), list(sys.argv), os.getcwd(), torch.get_rng_state().tolist()]


def test_globals_come_back_and_everything_else_is_as_before(place: Path) -> None:
    before = state()
    seen = running.run_tutorial("script", images=3, name="-y", plots=False, sides=(4, 5, 6))
    assert state() == before
    run = seen["run"]
    assert (run.images, run.name, run.plots, run.sides) == (3, "-y", False, (4, 5, 6))
    assert seen["main"] == "__main__"
    assert seen["argv"][0] == str(place / "script.py")
    assert seen["path"][0] == str(place)
    assert not Path(seen["folder"]).exists()


def test_a_tutorial_that_fails_leaves_nothing_behind_either(place: Path) -> None:
    before = state()
    with pytest.raises(KeyError):
        running.run_tutorial("script", images=-1)
    assert state() == before
