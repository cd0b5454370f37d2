"""The tutorial on the test image's part in a map, on mosaics of a few shapes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from tests.tutorials.running import run_tutorial
from tests.tutorials.shapes_tree import write_shapes


@pytest.fixture(scope="module")
def seen(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    place = tmp_path_factory.mktemp("mosaics")
    write_shapes(place / "data", train=12, test=4)
    return run_tutorial(
        "dependence",
        data=place / "data",
        cache=place / "cache",
        out=place / "out",
        mosaics=64,
        unseen=20,
        epochs=1,
        maps=3,
        fresh=2,
        noise_copies=2,
        fitted=20,
    )


def test_shares_and_movements_obey_their_laws(seen: dict[str, Any]) -> None:
    for (method, _), found in seen["found"].items():  # share, maximum, movement
        assert found.shape == (3, 3)
        assert ((found[:, :2] >= 0) & (found[:, :2] <= 1)).all()
        # Two cells: what one gains the other loses, so the mean share says the movement.
        torch.testing.assert_close(found[:, 2], 2 * found[:, 0] - 1)
        if method == "own labels":
            torch.testing.assert_close(found[:, 2], torch.zeros(3).double())
            torch.testing.assert_close(found[:, 0], torch.full((3,), 0.5).double())


def test_each_variant_of_the_score_is_counted_on_fresh_mosaics(seen: dict[str, Any]) -> None:
    assert len(seen["variants"]) == 2 * 2 * 4
    for found in seen["variants"].values():
        torch.testing.assert_close(found[:, 2], 2 * found[:, 0] - 1)
        assert found.shape == (2, 3)


def test_only_the_asked_class_changes_between_the_tests_of_a_mosaic(seen: dict[str, Any]) -> None:
    for own, (tests, labels) in zip(seen["mosaics"].labels, seen["pairs"], strict=False):
        assert (labels.sum(1) == 2).all()
        torch.testing.assert_close(labels[:, own.flatten()], torch.eye(2))  # one of its classes
        changed = (tests[0] != tests[1]).any(0)  # [H, W]
        assert changed.view(32, 2, 32).any(2).any(0).sum() == 1  # one of the halves


def test_the_page_says_on_which_data_it_was_not_run(seen: dict[str, Any]) -> None:
    out = Path(seen["run"].out)
    assert "Not run on VOC" in (out / "dependence.md").read_text()
    assert (out / "dependence-maps.png").is_file()
