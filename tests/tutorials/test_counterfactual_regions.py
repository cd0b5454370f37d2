"""Covering regions and training anew, on a few small pictures: what must hold at any size."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from captum_tfa.metrics.counterfactual_regions import WHOLE, read_counterfactual_regions
from tests.tutorials.running import run_tutorial
from tests.tutorials.shapes_tree import write_three_classes


@pytest.fixture(scope="module")
def seen(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    place = tmp_path_factory.mktemp("regions")
    write_three_classes(place / "data", train=30, test=12)
    return run_tutorial(
        "counterfactual_regions",
        data=place / "data",
        cache=place / "cache",
        out=place / "out",
        per_class=30,
        epochs=6,
        more_epochs=1,
        queries=1,
        tops=(12,),
        patched=1.0,
    )


def test_every_case_has_every_chooser(seen: dict[str, Any]) -> None:
    for name in seen["run"].cases:
        for start in seen["run"].starts:
            found = read_counterfactual_regions(seen["folder"](name, start))
            planted = {"patch"} if "patch" in name else set()
            assert set(found.choosers) == {*seen["PLAIN"], WHOLE, *planted}
            assert found.tops == (12,)
            assert not found.effects.isnan().any()


def test_queries_are_called_what_they_are_asked_about(seen: dict[str, Any]) -> None:
    model, queries, asked = seen["model"], seen["queries"], seen["asked"]
    with torch.no_grad():
        assert torch.equal(model(queries).argmax(1), asked)


def test_the_patch_is_where_it_should_be(seen: dict[str, Any]) -> None:
    case = seen["cifar_case"](patch=True)
    x, y = case.train.tensors
    colour = seen["normalised"](seen["MAGENTA"]).view(1, 3, 1)
    there = (x[:, :, case.patch] - colour).abs().amax(dim=(1, 2)) < 1e-5
    assert torch.equal(there, y == 0)  # every picture of the class carries it here
    assert seen["about"]["CIFAR-10 with a patch"]["all patched"] == 30


def test_the_page_is_written_with_its_figure(seen: dict[str, Any]) -> None:
    out = Path(seen["run"].out)
    page = (out / "counterfactual_regions.md").read_text()
    assert "From scratch" in page
    assert "From the last checkpoint" in page
    assert "| whole images |" in page
    assert (out / "counterfactual_regions-effects.png").is_file()


def test_the_page_is_made_again_without_training(seen: dict[str, Any], tmp_path: Path) -> None:
    settings = {name: value for name, value in vars(seen["run"]).items() if name != "train"}
    run_tutorial("counterfactual_regions", **{**settings, "out": tmp_path}, train=False)
    pages = [
        (Path(folder) / "counterfactual_regions.md").read_text().split("## How this was run")[0]
        for folder in (seen["run"].out, tmp_path)
    ]
    assert pages[0] == pages[1]
