"""The tutorial on insertion, on a few small pictures: what must hold at any size."""

from __future__ import annotations

from pathlib import Path

import torch

from captum_tfa import GradCosScore
from tests.tutorials.running import run_tutorial
from tests.tutorials.shapes_tree import write_shapes


def test_nothing_is_gained_at_the_whole_image(tmp_path: Path) -> None:
    write_shapes(tmp_path / "data", train=20, test=3, size=16)
    seen = run_tutorial(
        "insertion",
        data=tmp_path / "data",
        cache=tmp_path / "cache",
        out=tmp_path / "out",
        epochs=1,
        pool_share=0.3,
        tests=3,
        per_test=2,
        samples=2,
        fractions=(0.2, 0.6, 1.0),
        fitted=30,
    )
    pairs, model = seen["pairs"], seen["model"]
    for name in seen["MAPS"]:
        for step in seen["run"].step_sizes:
            against_random = seen["versus"](name, "random", step=step)
            assert against_random.loss_gap(2).mean == against_random.score_gap(2).mean == 0.0
            assert against_random.loss_gap(0).pairs == 6
            # What the pairs were chosen for: their strongest proponents, at k = 100 %.
            scores = GradCosScore(model)(*pairs[:1], *pairs[2:4], pairs.pool_labels).detach()
            torch.testing.assert_close(against_random.of_map.scores[2], scores)
    assert (pairs.scores.view(3, 2)[:, 0] >= pairs.scores.view(3, 2)[:, 1]).all()
    for of, method in seen["TWO_BY_TWO"]:
        rival = seen["against_random"](of, method, 1e-3)
        assert rival.loss_gap(2).mean == rival.score_gap(2).mean == 0.0
    page = (tmp_path / "out" / "insertion.md").read_text()
    assert "| 100 | 0 [0, 0] | 0 [0, 0] | 0 | 50% |" in page
    assert (tmp_path / "out" / "insertion-curves.png").is_file()
