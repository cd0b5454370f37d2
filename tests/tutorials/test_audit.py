"""The tutorial on the audit, in which a small network falls for a square and the audit finds it."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.tutorials.running import run_tutorial
from tests.tutorials.shapes_tree import write_shapes


@pytest.mark.slow
def test_the_square_is_the_top_cluster_and_the_page_says_so(tmp_path: Path) -> None:
    write_shapes(tmp_path / "data", train=40, test=20)
    # In the place of photographs, of two classes.
    write_shapes(tmp_path / "photographs", train=12, test=8, test_name="val")
    small = {
        "data": tmp_path / "data",
        "photographs": tmp_path / "photographs",
        "cache": tmp_path / "cache",
        "out": tmp_path / "out",
        "classes": ("circle", "cross", "square"),
        "seeds": (0,),
        "clean_seeds": (0,),
        "rates": (80,),
        "missing_seeds": (0,),
        "missing_rates": (80,),
        "per_class": 40,
        "test_per_class": 20,
        "epochs": 6,
        "mistakes": 5,
        "opponents": 2,
        "fitted": 50,
        "score": "grad-cos",
        "controls": 3,
        "more_per_class": 40,
        "more_mistakes": 3,
        "more_seeds": (0,),
        "shapes_per_class": 60,
        "network": "small_cnn",
        "photograph_seeds": (0,),
        "photograph_side": 32,
        "photograph_epochs": 2,
        "photograph_mistakes": 2,
    }
    seen = run_tutorial("audit", **small)
    assert [case[:3] for case in seen["results"]] == [
        ("shapes", 90, "there"),
        ("shapes", 0, "none"),
        ("CIFAR-10", 80, "there"),
        ("CIFAR-10", 0, "none"),
        ("CIFAR-10", 80, "missing"),
        ("CIFAR-10", 80, "answer"),
        ("more of CIFAR-10", 80, "there"),
        ("photographs", 100, "there"),
        ("photographs", 100, "answer"),
        ("photographs", 0, "none"),
    ]
    found = seen["results"]["shapes", 90, "there", 0]
    assert found["others, called so with"] > found["others, called so without"] + 0.5
    assert found["caused"] == found["looked at"] == 5
    top = found["clusters"][0]
    assert seen["is_square"](top)
    assert top["mistakes"] == 1
    for case, found in seen["results"].items():
        assert len(found["control"]) == 3
        if not case[1]:
            assert found["caused"] == found["carry"] == 0
            assert not any(seen["is_square"](cluster) for cluster in found["clusters"])

    page = (tmp_path / "out" / "audit.md").read_text()
    hits = sum(
        seen["is_square"](found["clusters"][0])
        for case, found in seen["results"].items()
        if case[2] == "there"
    )
    assert f"some pictures of the test: in {hits} of 4 runs the top cluster is the square" in page
    assert "missing in the test: in 0 of 1 runs" in page
    assert "of 3 runs nothing stands out" in page
    assert (tmp_path / "out" / "audit-strengths.png").is_file()
    assert (tmp_path / "out" / "audit-shapes-90-there.png").is_file()
    assert (tmp_path / "out" / "audit-plane.png").is_file()

    # A second run reads what the first has measured.
    kept = {path: path.stat().st_mtime_ns for path in (tmp_path / "cache").rglob("*.json")}
    assert len(kept) == 10
    again = run_tutorial("audit", **small)
    assert again["results"] == seen["results"]
    assert {path: path.stat().st_mtime_ns for path in kept} == kept
