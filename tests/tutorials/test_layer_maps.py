"""The quick form of the tutorial on layer maps."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from tests.tutorials.running import run_tutorial
from tests.tutorials.shapes_tree import write_shapes


def test_layers_are_compared_on_one_grid(tmp_path: Path) -> None:
    write_shapes(tmp_path / "data", 3, 1, test_name="val")
    seen = run_tutorial(
        "layer_maps",
        data=tmp_path / "data",
        out=tmp_path / "out",
        cache=tmp_path / "cache",
        network="small_cnn",
        layers=(0, 3, 6),
        side=32,
        tests=3,
        samples=2,
    )
    sizes = {place: tuple(values.shape[1:]) for place, values in seen["saliencies"].items()}
    assert sizes == {"pixels": (32, 32), "0": (32, 32), "3": (16, 16), "6": (8, 8)}
    assert {values.shape for values in seen["coarse"].values()} == {(3, 8, 8)}
    assert {values.shape for values in seen["seen"].values()} == {(3, 32, 32)}
    assert (tmp_path / "out" / "layer_maps-maps.png").is_file()
    assert "| 6 and pixels |" in (tmp_path / "out" / "layer_maps.md").read_text()

    # Known answers of the two numbers: a ramp, and a mass on one pixel or on all.
    ramp = torch.arange(4.0).expand(1, 4, 4)
    assert float(seen["roughness"](ramp)) == pytest.approx(0.5 / float(ramp.std()))
    point = torch.zeros(1, 4, 4)
    point[0, 1, 2] = 1
    assert float(seen["half_mass_area"](point)) == 1 / 16
    assert float(seen["half_mass_area"](torch.ones(1, 4, 4))) == 0.5
