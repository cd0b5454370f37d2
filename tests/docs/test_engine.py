"""What the page about the engine says is run, and its rule is exact."""

from __future__ import annotations

import re
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from captum_tfa import GradCosScore, PassForEachExampleWarning, validate
from captum_tfa.gradients import registry
from tests.oracle import assert_layer_exact

PAGE = Path(__file__).parents[2] / "docs" / "engine.md"
BLOCKS = re.findall(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)


def _run() -> dict[str, Any]:
    found: dict[str, Any] = {}
    for block in BLOCKS:
        exec(compile(block, str(PAGE), "exec"), found)
    return found


@pytest.fixture(scope="module")
def names() -> Iterator[dict[str, Any]]:
    """What the page's blocks leave behind, run one after the other."""
    before = dict(registry.RECORDED)
    with pytest.warns(PassForEachExampleWarning, match=r"'1\.weight'"):
        found = _run()
    yield found
    registry.RECORDED.clear()
    registry.RECORDED.update(before)


def test_every_block_runs(names: dict[str, Any]) -> None:
    assert len(BLOCKS) == 5
    assert names["map"].shape == (8, 16, 64)


def test_the_map_of_the_page_is_the_score_s(names: dict[str, Any]) -> None:
    """Grad-dot by hand, on a fresh model of the same seed."""
    torch.manual_seed(0)
    layers = [nn.Linear(64, 32), nn.GELU(), nn.Flatten(), nn.Linear(16 * 32, 10)]
    model = nn.Sequential(*layers).double()
    images, test = names["train"].double().requires_grad_(), names["test"].double()
    of_test = torch.autograd.grad(
        nn.functional.cross_entropy(model(test), names["test_label"]), list(model.parameters())
    )
    total = torch.zeros(()).double()
    for row, label in enumerate(names["labels"]):
        loss = nn.functional.cross_entropy(model(images[row : row + 1]), label[None])
        own = torch.autograd.grad(loss, list(model.parameters()), create_graph=True)
        total = (
            total + torch.stack([(a * b).sum() for a, b in zip(own, of_test, strict=True)]).sum()
        )
    (expected,) = torch.autograd.grad(total, images)
    torch.testing.assert_close(names["map"].double(), expected, rtol=1e-3, atol=1e-6)


@pytest.mark.parametrize("batch", [1, 3])
def test_the_rule_of_the_page_is_exact(names: dict[str, Any], batch: int) -> None:
    assert_layer_exact(names["Prototypes"](4, 3), [5, 4], batch)
    assert_layer_exact(names["Prototypes"](4, 3), [4], batch)


def test_the_rule_takes_the_passes_away_and_its_layout_is_remembered(
    names: dict[str, Any],
) -> None:
    model = nn.Sequential(names["Prototypes"](4, 3), nn.Flatten(), nn.Linear(15, 5)).eval()
    images = torch.randn(3, 5, 4)
    score = GradCosScore(model)
    with warnings.catch_warnings():
        warnings.simplefilter("error", PassForEachExampleWarning)
        assert validate(model, images, 1) == []
        score(images, images[:1], 1, 2)
    assert score._gradients.room.one_at_a_time is False
    assert len(score._gradients._collector._layouts) == 1


def test_the_picture_is_there() -> None:
    text = PAGE.read_text(encoding="utf-8")
    (picture,) = re.findall(r"!\[.*?\]\((.*?)\)", text)
    assert (PAGE.parent / picture).read_text(encoding="utf-8").startswith("<svg")
    assert "engine.md" in (PAGE.parents[1] / "mkdocs.yml").read_text(encoding="utf-8")
