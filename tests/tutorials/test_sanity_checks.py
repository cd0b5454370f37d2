"""The sanity checks on a few small pictures: what must hold at any size does."""

from __future__ import annotations

from pathlib import Path

import torch

from tests.tutorials.running import run_tutorial
from tests.tutorials.shapes_tree import write_shapes


def test_maps_lose_their_likeness_with_the_weights(tmp_path: Path) -> None:
    write_shapes(tmp_path / "data", train=20, test=2, size=16)
    seen = run_tutorial(
        "sanity_checks",
        data=tmp_path / "data",
        cache=tmp_path / "cache",
        out=tmp_path / "out",
        epochs=3,
        pool_share=0.2,
        pairs=2,
        noise_copies=2,
        fitted=8,
        label_images=32,
        label_epochs=3,
    )
    # Random weights: as many rows as blocks; the untrained network's maps are no longer alike.
    assert [name for mode, name in seen["rows"] if mode == "cascading"] == seen["blocks"]
    for name in seen["METHODS"]:
        last = seen["rows"]["cascading", seen["blocks"][-1]][name]
        assert last.rank.shape == (2,)
        assert float(last.rank.mean()) < float(seen["ceiling"][name].rank.mean())
    own = seen["ceiling"]["SmoothGrad of the own label"]  # it has no sign to lose
    torch.testing.assert_close(own.rank, own.rank_absolute, atol=1e-6, rtol=0)
    # The first block is the same in both modes: only the output layer is random.
    first = seen["blocks"][0]
    for name in seen["METHODS"]:
        torch.testing.assert_close(
            seen["rows"]["cascading", first][name], seen["rows"]["independent", first][name]
        )
    # Permuted labels are the same labels in another order.
    assert seen["wrong"].bincount().tolist() == seen["few"].labels.bincount().tolist()
    assert (tmp_path / "out" / "sanity_checks.md").is_file()
