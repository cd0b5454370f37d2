"""The quick form of the tutorial on pixel maps."""

from __future__ import annotations

from pathlib import Path

import torch

from captum_tfa import GradCosScore
from tests.tutorials.running import run_tutorial
from tests.tutorials.shapes_tree import write_shapes


def test_maps_scores_and_masks_belong_to_the_same_pairs(tmp_path: Path) -> None:
    write_shapes(tmp_path / "data", 3, 1, test_name="val")
    seen = run_tutorial(
        "pixel_maps",
        data=tmp_path / "data",
        out=tmp_path / "out",
        cache=tmp_path / "cache",
        network="small_cnn",
        last_layer=7,
        side=32,
        tests=3,
        samples=2,
        block=8,
    )
    model, scores = seen["model"], seen["scores"]
    assert scores.shape == (3, 12)
    assert torch.equal(scores.max(1).values, scores[torch.arange(3), seen["proponents"]])
    assert torch.equal(scores.min(1).values, scores[torch.arange(3), seen["opponents"]])
    # The pairs that are mapped and masked are those that the ranking named.
    tests = seen["tests_of_pairs"]
    again = GradCosScore(model)(
        seen["images"], seen["test_images"][tests], seen["test_labels"][tests], seen["labels"]
    )
    named = torch.stack([scores[b, a] for a, b in seen["pairs"]])
    torch.testing.assert_close(again, named, rtol=1e-3, atol=1e-4)
    for found in seen["left"].values():
        torch.testing.assert_close(found.whole_scores, named, rtol=1e-3, atol=1e-4)
    assert seen["maps"].shape == (6, 3, 32, 32)
    assert (tmp_path / "out" / "pixel_maps-maps.png").is_file()
    assert "| random blob |" in (tmp_path / "out" / "pixel_maps.md").read_text()
