"""Cats and dogs by retraining, on a few small pictures: what must hold at any size."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from tests.tutorials.running import run_tutorial
from tests.tutorials.shapes_tree import write_shapes


def test_the_quick_form(tmp_path: Path) -> None:
    write_shapes(tmp_path / "data", train=16, test=8)
    for split in ("train", "test"):
        for shape, name in (("circle", "cat"), ("cross", "dog")):
            (tmp_path / "data" / split / shape).rename(tmp_path / "data" / split / name)
    seen = run_tutorial(
        "retraining_cifar2",
        data=tmp_path / "data",
        out=tmp_path / "out",
        cache=tmp_path / "cache",
        train=24,
        queries=8,
        subsets=4,
        models=2,
        wrong_sets=1,
        wrong=0.25,
        width=4,
        epochs=2,
        every=1,
        patched=3,
        k=2,
        ekfac=False,
    )
    assert seen["train"].tensors[1].bincount().tolist() == [12, 12]
    assert torch.equal(seen["retrained"].members, seen["members"])
    results = seen["results"]
    assert results["grad-cos, 1 model"].subsets == 4
    both = (results["grad-dot, 1 model"], results["grad-dot, 2 models"])
    assert both[0].per_query.shape == both[1].per_query.shape == (8,)
    assert results["TracInCP (captum), 1 model"].mean == pytest.approx(
        results["TracInCP (captum), 1 model"].per_query.mean().item()
    )
    page = (tmp_path / "out" / "retraining_cifar2.md").read_text()
    for heading in ("Wrong labels", "One more step", "| feature similarity, 1 model |"):
        assert heading in page
