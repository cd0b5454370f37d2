"""Ants and bees by retraining, on a few small pictures: what must hold at any size."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import torch

from tests.tutorials.running import run_tutorial
from tests.tutorials.shapes_tree import write_shapes


@pytest.mark.usefixtures("small_photographs")
def test_the_quick_form(tmp_path: Path) -> None:
    write_shapes(tmp_path / "data", train=12, test=8, size=48, test_name="val")
    for split in ("train", "val"):
        for name in ("square", "triangle"):
            shutil.rmtree(tmp_path / "data" / split / name)
    seen = run_tutorial(
        "retraining_photographs",
        data=tmp_path / "data",
        out=tmp_path / "out",
        cache=tmp_path / "cache",
        network="small_cnn",
        queries=6,
        subsets=4,
        models=2,
        epochs=2,
        every=1,
        dimension=8,
        scores=("gradients", "TracIn", "TRAK", "feature similarity"),
    )
    features = seen["train"].tensors[0]
    assert features.shape[0] == 24
    assert features.shape[1] == 80
    assert features.shape[2] > 1
    assert seen["results"]["grad-dot", 2].subsets == 4
    assert not torch.equal(seen["queries"].tensors[0], seen["learners"].tensors[0])
    assert len(seen["damped"]["the whole stage"]) == 5
    page = (tmp_path / "out" / "retraining_photographs.md").read_text()
    assert "| TRAK | 2 |" in page
