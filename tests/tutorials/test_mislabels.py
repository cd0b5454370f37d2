"""Wrong labels, in a small form: what must hold at any size."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import torch

from captum_tfa import GradDotScore, ScoreInfluence
from tests.tutorials.running import run_tutorial
from tests.tutorials.shapes_tree import write_shapes


@pytest.mark.usefixtures("small_photographs")
def test_the_quick_form(tmp_path: Path) -> None:
    write_shapes(tmp_path / "pictures", train=24, test=12)
    write_shapes(tmp_path / "photographs", train=8, test=6, size=48, test_name="val")
    for split in ("train", "val"):
        for name in ("square", "triangle"):
            shutil.rmtree(tmp_path / "photographs" / split / name)
    settings = {
        "data": tmp_path / "pictures",
        "photographs": tmp_path / "photographs",
        "out": tmp_path / "out",
        "cache": tmp_path / "cache",
        "train": 40,
        "queries": 8,
        "learning": 4,
        "width": 4,
        "epochs": 2,
        "network": "small_cnn",
        "photograph_queries": 6,
        "photograph_epochs": 2,
        "every": 1,
        "wrong": 0.25,
        "seeds": 2,
        "dimension": 16,
    }
    kinds = ("loss", "gradients", "TracIn", "TRAK", "representer", "TracInCPFast (captum)")
    seen = run_tutorial("mislabels", **settings, scores=kinds)
    for setup in ("cifar10", "photographs"):
        found = seen["found"][setup]
        assert {len(results) for results in found.values()} == {2}
        assert "self-influence, TracIn, learned weights" in found
    # The last of the loop is still there: suspicions are those of the scores.
    model, asked, folder = seen["model"], seen["asked"], seen["folder"]
    assert torch.equal(asked.train.tensors[1] != seen["clean"].train.tensors[1], seen["wrong"])
    of_gradients = seen["suspicions_of"]("gradients", model, [], asked, 16, folder / "other")
    table = ScoreInfluence(GradDotScore(model), asked.train).influence(asked.queries.tensors)
    torch.testing.assert_close(of_gradients["−mean grad-dot"], -table.mean(0))
    torch.testing.assert_close(of_gradients["−lowest grad-dot"], -table.amin(0))
    page = (tmp_path / "out" / "mislabels.md").read_text()
    assert page.count("| loss |") == 2

    again = run_tutorial("mislabels", **settings, scores=kinds)
    assert again["detected"] == seen["detected"]  # all of it was kept
