"""Cats and dogs by retraining, on a few small pictures: what must hold at any size."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from captum_tfa import GradDotScore, ScoreInfluence
from tests.tutorials.running import run_tutorial
from tests.tutorials.shapes_tree import write_shapes

KINDS = (
    "gradients",
    "TracIn",
    "ekfac",
    "datainf",
    "representer",
    "TRAK",
    "feature similarity",
    "TracInCP (captum)",
    "TracInCPFast (captum)",
)


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
        learning=4,
        subsets=4,
        models=2,
        width=4,
        epochs=2,
        every=1,
        patched=3,
        k=2,
        curvature_of=10,
        dimension=16,
        scores=KINDS,
    )
    assert seen["train"].tensors[1].bincount().tolist() == [12, 12]
    assert torch.equal(seen["retrained"].members, seen["members"].repeat_interleave(2, 0))
    one, several, results = seen["one"], seen["several"], seen["results"]
    assert results["grad-cos", 1].subsets == 4
    assert results["grad-dot", 2].per_query.shape == (8,)

    # Peers on the same model, the same data.
    torch.testing.assert_close(one["TracInCP (captum)"], one["TracIn"], rtol=1e-3, atol=1e-5)
    for name, found in one.items():
        if name.endswith(", learned weights"):
            weights = one[f"weights of {name.removesuffix(', learned weights')}"]
            assert weights.sum().item() == pytest.approx(1, abs=1e-5)
            assert not torch.allclose(found, one[name.removesuffix(", learned weights")])
    models = [seen["whole_model"](seed)[0] for seed in (0, 1)]
    both = [
        ScoreInfluence(GradDotScore(model), seen["train"]).influence(seen["queries"].tensors)
        for model in models
    ]
    torch.testing.assert_close(several["grad-dot"], sum(both) / 2, rtol=1e-4, atol=1e-6)

    layers = seen["columns"]
    assert len(layers["layer"]) == len(layers["weight for grad-dot"]) == 17
    assert sum(layers["weight for influence, EK-FAC"]) == pytest.approx(1, abs=1e-5)

    page = (tmp_path / "out" / "retraining_cifar2.md").read_text()
    for heading in ("One more step", "| feature similarity | 1 |", "| TRAK | 2 |"):
        assert heading in page
