from __future__ import annotations

import csv
import io

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from captum_tfa.auditing.opponents import Pair, PairOpponent
from captum_tfa.auditing.suspected_labels import SuspectedLabel
from captum_tfa.auditing.suspects import COLUMNS, Region, Suspect, as_csv, suspects_of

NAMES = {0: "ant", 1: "bee"}


def table(suspects: list[Suspect], files: dict[int, str | None]) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(as_csv(suspects, files), newline="")))


def test_the_table_says_index_file_reason_score_and_region() -> None:
    text = as_csv(
        [
            Suspect(7, 0, "region", "region 1", -0.25, Region(24, 20, 8, 6)),
            Suspect(3, 1, "label", "label bee may be wrong", 0.5),
        ],
        {7: "a/b.png", 3: None},
    )
    assert text.splitlines() == [
        "index,file,reason,score,region",
        "7,a/b.png,region 1,-0.25,rows 24:32 columns 20:26",
        "3,,label bee may be wrong,0.5,",
    ]


@pytest.mark.parametrize("start", ["=", "+", "-", "@", "\t", "\r", "\n", "|", "%", " =", "＝"])
def test_no_text_runs_as_a_formula(start: str) -> None:
    name = f"{start}cmd|' /C calc'!A1"
    row = table([Suspect(0, 0, "label", name, 0.1)], {0: name})[0]
    assert row["file"] == row["reason"] == f"'{name}"


@given(st.text(st.characters(exclude_categories=["Cs"]), max_size=30))
def test_any_file_name_comes_back_whole(name: str) -> None:
    row = table([Suspect(0, 0, "label", "r", -0.1)], {0: name})[0]
    assert row["file"] in (name, f"'{name}")
    assert row["file"][:1] not in ("=", "+", "-", "@", "\t", "\r", "\n")
    assert set(row) == set(COLUMNS)


def test_labels_come_before_opponents_that_come_up_again_and_again() -> None:
    pairs = (
        Pair(
            0,
            1,
            tuple(range(8)),
            (
                PairOpponent(4, 1, 8, 1.0, -0.5),
                PairOpponent(5, 1, 2, 0.25, -0.9),  # too few
                PairOpponent(6, 1, 3, 0.375, -0.4),
            ),
        ),
        Pair(1, 0, tuple(range(20)), (PairOpponent(6, 1, 4, 0.2, -0.1),)),  # too small a share
        Pair(1, 1, tuple(range(3)), (PairOpponent(6, 1, 3, 1.0, -0.1),)),  # no more often
    )
    labels = (SuspectedLabel(9, 1, 0, 0.2, 0.1, -0.1, 2.0),)
    found = suspects_of(None, None, (8, 8), labels, pairs, NAMES)
    assert [(each.index, each.kind) for each in found] == [
        (9, "label"),
        (4, "opponent"),
        (6, "opponent"),
    ]
    assert found[0].score == 0.2
    assert found[1].reason == "behind 8 of the 8 mistakes ant called bee"
    assert found[2].score == -0.4


def test_regions_are_told_in_the_pixels_of_the_image_and_stay_inside() -> None:
    from tests.auditing.small_regions import regions_of

    evidence, regions = regions_of(
        size=16,
        indices=[5, 5, 8],
        scores=[-0.2, -0.4, -0.6],
        peaks=[[15.0, 15.0], [14.0, 14.0], [4.0, 8.0]],
        box=(12, 12, 4, 4),
    )
    found = suspects_of(regions, evidence, (32, 64), (), (), NAMES)
    assert [each.index for each in found] == [5, 8]  # the more frequent first
    assert found[0].score == pytest.approx(-0.3)
    assert found[0].region == Region(24, 48, 8, 16)  # moved back inside
    assert found[1].region == Region(4, 24, 8, 16)
    assert "this one is behind 2" in found[0].reason
    silent = regions_of(
        size=16, indices=[5], scores=[-0.2], peaks=[[1.0, 1.0]], box=(0, 0, 4, 4), stands_out=False
    )
    assert suspects_of(silent[1], silent[0], (32, 32), (), (), NAMES) == ()


def test_pixels_are_whole_numbers() -> None:
    assert str(Region(*torch.tensor([1, 2, 3, 4]).tolist())) == "rows 1:4 columns 2:6"
