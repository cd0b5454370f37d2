"""The quick form of the tutorial on architectures."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
import torchvision

from tests.tutorials.running import run_tutorial
from tests.tutorials.shapes_tree import write_shapes

CLASSES = ("circle", "square")


def test_all_networks_map_the_same_pairs(tmp_path: Path) -> None:
    write_shapes(tmp_path / "data", 8, 4)
    seen = run_tutorial(
        "architectures",
        data=tmp_path / "data",
        out=tmp_path / "out",
        cache=tmp_path / "cache",
        classes=CLASSES,
        images=16,
        epochs=1,
        pairs=2,
        samples=4,
        few=1,
    )
    for a, b in zip(seen["trains"], seen["tests"], strict=True):
        assert seen["train"].labels[a] == seen["test"].labels[b]
    for name in seen["run"].networks:
        assert seen["maps"][name].shape == (2, 3, 32, 32)
        # One copy and three others make up the mean of all four.
        mean = (seen["few_maps"][name] + 3 * seen["other_maps"][name]) / 4
        torch.testing.assert_close(mean, seen["maps"][name])
        assert (seen["saliencies"][name].sum(dim=(1, 2)) > 0).all()
    page = (tmp_path / "out" / "architectures.md").read_text()
    assert "With a grid of 4 x 4 pixels" in page
    assert "With a grid of 8 x 8 pixels" in page
    assert "The deeper residual network minus the shallow one" in page
    assert (tmp_path / "out" / "architectures-maps.png").is_file()


def test_pretrained_networks_take_photographs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = torchvision.models.get_model
    monkeypatch.setattr(  # no downloads in a test
        torchvision.models, "get_model", lambda name, weights: whole(name, weights=None)
    )
    write_shapes(tmp_path / "data", 1, 1, test_name="val")
    seen = run_tutorial(
        "architectures",
        data=tmp_path / "data",
        out=tmp_path / "out",
        cache=tmp_path / "cache",
        pretrained=True,
        networks=("resnet18",),
        epochs=1,
        pairs=2,
        samples=2,
        few=1,
    )
    assert seen["maps"]["resnet18"].shape == (2, 3, 224, 224)
