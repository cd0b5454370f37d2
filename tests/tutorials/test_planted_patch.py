"""The tutorial on a planted patch, with a small network that soon falls for it."""

from __future__ import annotations

import shutil
from pathlib import Path

import torch

from tests.tutorials.running import run_tutorial
from tests.tutorials.shapes_tree import write_shapes


def test_the_square_fools_the_network_and_its_carriers_oppose(tmp_path: Path) -> None:
    data = tmp_path / "data"
    write_shapes(data, train=30, test=10)
    (data / "test").rename(data / "val")
    for folder in (*data.glob("*/square"), *data.glob("*/triangle")):
        shutil.rmtree(folder)
    seen = run_tutorial(
        "planted_patch",
        data=data,
        cache=tmp_path / "cache",
        out=tmp_path / "out",
        network="small_cnn",
        layer="6",
        side=32,
        square=8,
        rates=(1.0,),
        epochs=12,
        tests=2,
        opponents=2,
        noise_copies=2,
        fitted=30,
    )
    which, planted, _ = seen["trained"][1.0]
    assert torch.equal(which, planted.labels == 0)
    corner = planted.images[:, :, -8:, -8:]
    red = (corner == torch.tensor([255, 0, 0]).view(3, 1, 1)).flatten(1).all(1)
    assert torch.equal(red, which)

    # Both kinds of test picture are fooled, and looked at by both scores.
    assert len(seen["looked_at"]) == 2
    assert len(seen["results"]) == 4
    for (*key, _), found in seen["results"].items():
        assert "integrated_gradients_norm_held" in found.shares
        assert (found.scores < 0).all()
        assert which[found.opponents].all()
        tests = seen["looked_at"][tuple(key)]
        assert (seen["answers"](seen["trained"][1.0][2], tests) != tests.labels).all()
    page = (tmp_path / "out" / "planted_patch.md").read_text()
    assert "100% of the circle trained with the square" in page
    assert (tmp_path / "out" / "planted_patch-100-there.png").is_file()
