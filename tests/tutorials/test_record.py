"""The page of results says what was found and how it was run."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pytest
import scipy.stats
import torch
from PIL import Image

from common.record import Record, interval


def test_page_holds_text_table_figure_and_command(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["--data", "/home/me/pictures", "--cache=/home/me/kept", "--out", "docs/results"]
    monkeypatch.setattr(sys, "argv", ["tutorials/insertion.py", *words])
    run = argparse.Namespace(data="/home/me/pictures", seed=3, rate=0.5)
    record = Record("Does it work?", tmp_path / "new", run)
    record.say("It does.")
    record.table(["k", "gap"], [[10, 0.12345678], ["all", interval([1.0, 3.0])]])
    fig, axes = plt.subplots()
    axes.imshow(np.random.default_rng(0).random((99, 99, 3)))  # many colours
    record.figure(fig, "gaps", "Gaps by k.")
    page = record.save()

    text = page.read_text()
    assert page == tmp_path / "new" / "insertion.md"
    assert text.startswith(
        "# Does it work?\n\nIt does.\n\n| k | gap |\n| --- | --- |\n| 10 | 0.123 |"
    )
    assert "| all | 2 [0.04, 3.96] |" in text
    assert "![Gaps by k.](insertion-gaps.png)" in text
    figure = Image.open(tmp_path / "new" / "insertion-gaps.png")
    assert figure.size[0] > 100
    assert figure.convert("RGB").getpixel((0, 0)) == (255, 255, 255)
    assert "`python tutorials/insertion.py --data pictures --cache=kept --out docs/results`" in text
    assert "`data = 'pictures'`, `seed = 3`, `rate = 0.5`" in text
    assert f"torch {torch.__version__}" in text
    assert "/home" not in text
    assert "It does." in capsys.readouterr().out


def test_interval_is_the_normal_one() -> None:
    values = torch.randn(50, generator=torch.Generator().manual_seed(0))
    mean, low, high = interval(values)
    numbers = values.double().numpy()
    expected = scipy.stats.norm.interval(0.95, numbers.mean(), scipy.stats.sem(numbers))
    assert (low, high) == pytest.approx(expected)
    assert mean == pytest.approx(numbers.mean())


def test_one_value_has_no_interval() -> None:
    with pytest.raises(ValueError, match=r"got 1 value.*at least 2"):
        interval([1.0])


def test_a_bar_inside_a_cell_does_not_end_it(tmp_path: Path) -> None:
    record = Record("Bars", tmp_path, argparse.Namespace())
    record.table(["|gradient|"], [["a|b"]])
    assert record.parts == ["| \\|gradient\\| |\n| --- |\n| a\\|b |"]
