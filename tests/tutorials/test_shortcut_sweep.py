"""The sweep on a few small pictures: what must hold at any size."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from tests.tutorials.running import run_tutorial
from tests.tutorials.shapes_tree import write_three_classes


@pytest.fixture(scope="module")
def seen(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    place = tmp_path_factory.mktemp("sweep")
    write_three_classes(place / "data", train=12, test=6)
    return run_tutorial(
        "shortcut_sweep",
        data=place / "data",
        cache=place / "cache",
        out=place / "out",
        fractions=(0, 50, 100),
        seeds=(0, 1),
        epochs=1,
        pool=30,
        tests=2,
        opponents=3,
        nt_samples=2,
    )


def test_only_dogs_carry_the_square_and_as_many_as_asked(seen: dict[str, Any]) -> None:
    for fraction, dogs in ((0, 0), (50, 6), (100, 12)):
        which, planted, _, ships = seen["case"](fraction, 0)
        assert int(which.sum()) == dogs
        assert (planted.labels[which] == seen["DOG"]).all()
        changed = (planted.images != seen["train"].images).any(1)  # [N, H, W]
        assert not changed[~which].any()
        assert not changed[:, ~seen["square"]].any()
        red = ships.images[:, :, seen["square"]]
        assert (red == torch.tensor([255, 0, 0]).view(1, 3, 1)).all()


def test_what_must_hold_of_every_network(seen: dict[str, Any]) -> None:
    for (fraction, _), found in seen["results"].items():
        carry, dogs = torch.tensor(found["carry the square"]), torch.tensor(found["are dogs"])
        assert carry.shape == dogs.shape == (2, 3)
        assert (carry <= dogs).all()  # no other class carries the square
        if fraction in (0, 100):
            assert torch.equal(carry, dogs * fraction / 100)
        for shares in found["shares"].values():
            assert ((torch.tensor(shares) >= 0) & (torch.tensor(shares) <= 1)).all()
            assert torch.tensor(shares).max() <= seen["ceiling"] + 1e-9


def test_the_page_is_written_with_its_figures(seen: dict[str, Any]) -> None:
    out = Path(seen["run"].out)
    page = (out / "shortcut_sweep.md").read_text()
    assert "| % of dogs | all | dogs |" in page
    for name in ("curves", "maps"):
        assert f"shortcut_sweep-{name}.png" in page
        assert (out / f"shortcut_sweep-{name}.png").is_file()
