"""The identical-class tests on a few small pictures: counts and chance levels are right."""

from __future__ import annotations

from pathlib import Path

import torch

from tests.tutorials.running import run_tutorial
from tests.tutorials.shapes_tree import write_shapes


def test_chance_and_counts_are_what_the_labels_say(tmp_path: Path) -> None:
    write_shapes(tmp_path / "data", train=20, test=4)
    seen = run_tutorial(
        "identical_class",
        data=tmp_path / "data",
        cache=tmp_path / "cache",
        out=tmp_path / "out",
        epochs=3,
        pool_share=0.2,
        group_images=64,
        group_epochs=2,
        ranked=40,
        queries=12,
        fitted=30,
        superclass=("circle", "cross"),
    )
    assert seen["two"].tolist() == [0, 0, 1, 1]
    assert seen["half_as_many"].bincount().tolist() == [2, 2]
    counts = seen["train_labels"].bincount(minlength=4).double()
    with torch.no_grad():
        predicted = seen["model"](seen["queries"]).argmax(1)
    shares = seen["shares"]
    torch.testing.assert_close(shares["identical class", "chance"], counts[predicted] / 40)
    # Within a superclass of two hidden classes, chance is one class's part of the two.
    title, hidden = "identical subclass, 2 superclasses", seen["hidden"]
    both = torch.stack([counts[:2].sum(), counts[2:].sum()])[hidden // 2]
    allowed = (counts[hidden] / both).tolist()
    assert all(any(abs(x - y) < 1e-9 for y in allowed) for x in shares[title, "chance"].tolist())
    assert all(len(row) == 7 for row in seen["table"])
    assert all(shares[title, "influence"].shape for title, _ in shares)
    assert (tmp_path / "out" / "identical_class.md").is_file()
