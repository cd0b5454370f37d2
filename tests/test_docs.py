"""The pages and the README show only what runs: their code is run, their commands are read."""

from __future__ import annotations

import re
import shlex
from pathlib import Path
from typing import Any

import pytest
import torch

import captum_tfa.demo
from captum_tfa.cli.main import _parser
from captum_tfa.metrics import plant_two_cues

ROOT = Path(__file__).parents[1]
FIRST_STEPS = ROOT / "docs" / "index.md"
MOST_TRAIN, MOST_TEST = 30, 20  # pictures of a class


def blocks(page: Path, language: str) -> list[str]:
    """The blocks of code in a page."""
    return re.findall(rf"^```{language}\n(.*?)^```", page.read_text(encoding="utf-8"), re.S | re.M)


def with_code(language: str) -> list[Any]:
    pages = [page for page in (ROOT / "docs").rglob("*.md") if blocks(page, language)]
    # What stands in a tutorial's page was run when the page was made, and is run by its own test.
    pages = [page for page in pages if page.parent.name != "tutorials"]
    pages = [*sorted(pages), ROOT / "README.md"]
    slow = {"metrics.md"}  # trains a dozen models
    return [
        pytest.param(
            page,
            id=str(page.relative_to(ROOT)),
            marks=[pytest.mark.slow] if page.name in slow else [],
        )
        for page in pages
    ]


def run(page: Path, names: dict[str, Any]) -> None:
    for block in blocks(page, "python"):
        if "plant_two_cues" in block:  # speaks of pictures, cues and results of the reader's own
            exec(compile(block, str(page), "exec"), {**names, **readers_own()})
        else:
            exec(compile(block, str(page), "exec"), names)


def readers_own() -> dict[str, Any]:
    """What the page of metrics takes for granted where it speaks of two cues."""
    images, labels = torch.rand(80, 3, 64, 64), torch.arange(80) % 4
    carriers = plant_two_cues(images, labels, 0, (torch.ones(3, 8, 8), torch.zeros(3, 8, 8)))
    both = len(carriers.images[carriers.both])
    return {
        "images": images,
        "labels": labels,
        "pink": torch.ones(3, 8, 8),
        "green": torch.zeros(3, 8, 8),
        "of_the_class": labels == 0,
        "scores_of_the_class": torch.rand(20),
        "heat_for_pink": torch.rand(both, 64, 64),
        "heat_for_green": torch.rand(both, 64, 64),
    }


@pytest.fixture
def _few_pictures(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In an empty folder, where `make_shapes` draws few pictures, and not many more if asked to."""

    def make_shapes(train_per_class: int = 20, test_per_class: int = 8, **kwargs: Any) -> Any:
        few = min(train_per_class, MOST_TRAIN), min(test_per_class, MOST_TEST)
        return captum_tfa.demo.shapes.make_shapes(*few, **kwargs)

    monkeypatch.setattr(captum_tfa.demo, "make_shapes", make_shapes)
    monkeypatch.chdir(tmp_path)


@pytest.mark.usefixtures("_few_pictures")
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("page", with_code("python"))
def test_code_runs(page: Path) -> None:
    names: dict[str, Any] = {}
    if page.name != "README.md":
        run(FIRST_STEPS, names)
    if page != FIRST_STEPS:
        run(page, names)


@pytest.mark.parametrize("page", with_code("bash"))
def test_commands_can_be_read(page: Path) -> None:
    for block in blocks(page, "bash"):
        for line in block.replace("\\\n", " ").splitlines():
            words = shlex.split(line, comments=True)
            if words[:1] == ["captum-tfa"]:
                _parser().parse_args(words[1:])
