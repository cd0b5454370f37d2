"""The tutorial on σ and n, on a few small pictures: its laws hold at any size."""

from __future__ import annotations

from pathlib import Path

import torch

from tests.tutorials.running import run_tutorial
from tests.tutorials.shapes_tree import write_shapes


def test_errors_fall_with_the_copies_and_foretell_the_agreement(tmp_path: Path) -> None:
    write_shapes(tmp_path / "data", train=10, test=2)
    seen = run_tutorial(
        "noise",
        data=tmp_path / "data",
        cache=tmp_path / "cache",
        out=tmp_path / "out",
        epochs=1,
        pool_share=0.2,
        pairs=3,
        levels=(0.05, 0.3),
        copies=(1, 4, 10, 20),
    )
    for name in seen["NAMES"]:
        errors = seen["errors"][name]  # [pairs, σ, n]
        counts = torch.tensor([1.0, 4, 10, 20]).double()
        torch.testing.assert_close(errors * counts.sqrt(), errors[:, :, :1].expand_as(errors))
        for column, wanted in enumerate(seen["WANTED"]):
            copies = seen["needed"][name][:, :, column]
            assert (copies >= (errors[:, :, 0] / wanted) ** 2 - 1e-6).all()
        assert seen["pictures"][name].shape == (3, 2, 4, 32, 32)
    assert float((seen["measured"] - seen["foretold"]).abs().mean()) < 0.15
    assert torch.allclose(seen["alike"], seen["alike"].T)
    page = (tmp_path / "out" / "noise.md").read_text()
    assert "Copies that a wanted error takes" in page
    assert (tmp_path / "out" / "noise-insertion.png").is_file()
