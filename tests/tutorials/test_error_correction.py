"""Mending errors on a few small pictures: what must hold at any size."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from tests.tutorials.running import run_tutorial
from tests.tutorials.shapes_tree import write_three_classes


@pytest.fixture(scope="module")
def seen(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    place = tmp_path_factory.mktemp("correction")
    write_three_classes(place / "data", train=20, test=10)
    return run_tutorial(
        "error_correction",
        data=place / "data",
        cache=place / "cache",
        out=place / "out",
        images=45,
        remove=6,
        asked=12,
        epochs=1,
        seeds=(0, 1),
        nt_samples=2,
        fitted=30,
    )


def test_exactly_the_planted_labels_are_wrong(seen: dict[str, Any]) -> None:
    noisy, wrong = seen["noisy_pictures"](0)
    everything = seen["everything"]
    right = []
    for image in noisy.images:  # where the picture comes from says its right label
        same = (everything.images == image).flatten(1).all(1)
        right.append(int(everything.labels[same][0]))
    assert torch.equal(torch.tensor(right) != noisy.labels, wrong)
    assert int(wrong.sum()) == 9
    assert torch.tensor(right).bincount().tolist() == [15, 15, 15]


def test_answers_mended_and_broken_account_for_the_accuracy(seen: dict[str, Any]) -> None:
    for result in seen["results"]:
        assert result["precision"]["oracle"] == 1.0
        labels = result["labels"]
        assert labels["random, same classes"] == labels["opponents"]
        for of, count in (("asked", 12), ("held out", 18)):
            for found in result["found"].values():
                gained = (found[of]["mended"] - found[of]["broken"]) / count
                assert found[of]["accuracy"] == pytest.approx(result["accuracy"][of] + gained)
        assert result["errors asked about"] == round(12 * (1 - result["accuracy"]["asked"]))


def test_the_page_is_written_with_its_figure(seen: dict[str, Any]) -> None:
    out = Path(seen["run"].out)
    assert "| without: opponents | without: random |" in (out / "error_correction.md").read_text()
    assert (out / "error_correction-accuracy.png").is_file()
