"""The hand-over: which training images to look at first, and why, as a table for any program."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from captum_tfa.auditing.evidence import Evidence
from captum_tfa.auditing.opponents import Pair
from captum_tfa.auditing.regions import Regions
from captum_tfa.auditing.suspected_labels import SuspectedLabel

COLUMNS = ("index", "file", "reason", "score", "region")

_AGAIN = 3
"""An opponent is a suspect from so many mistakes of a pair, ..."""

_AGAIN_SHARE = 0.25
"""... if these are such a part of the pair's."""

# What a spreadsheet would take for a formula, or would cut the cell at.
_FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n", "|", "%", "＝", "＋", "－", "＠")


@dataclass(frozen=True)
class Region:
    """A rectangle of a training image, in pixels of the image as the model gets it.

    Attributes:
        top: First row.
        left: First column.
        height: Rows.
        width: Columns.
    """

    top: int
    left: int
    height: int
    width: int

    def __str__(self) -> str:
        return (
            f"rows {self.top}:{self.top + self.height} columns {self.left}:{self.left + self.width}"
        )


@dataclass(frozen=True)
class Suspect:
    """A training image to look at.

    Attributes:
        index: Its place in the training set.
        label: Its label.
        kind: "region", "label" or "opponent".
        reason: Why, in words.
        score: Of a label its suspicion; otherwise its mean score with the mistakes behind which it
            stands, below 0.
        region: Where to look, if the reason is a region.
    """

    index: int
    label: int
    kind: str
    reason: str
    score: float
    region: Region | None = None


def suspects_of(
    regions: Regions | None,
    evidence: Evidence | None,
    image_size: tuple[int, int],
    labels: Sequence[SuspectedLabel],
    pairs: Sequence[Pair],
    names: Mapping[int, str],
) -> tuple[Suspect, ...]:
    """Regions that stand out first, then labels, then opponents that come up again and again.

    Args:
        regions: What the search for regions found.
        evidence: What it searched.
        image_size: ``(H, W)`` of the training images, at which regions are told.
        labels: Suspected labels.
        pairs: Opponents by pair.
        names: Class names.
    """
    found: list[Suspect] = []
    if regions is not None and evidence is not None:
        found += _of_regions(regions, evidence, image_size)
    found += [
        Suspect(
            each.index,
            each.label,
            "label",
            f"label {names[each.label]} may be wrong: hard to learn, and speaks against the test "
            f"images; the model says {names[each.predicted]}",
            each.suspicion,
        )
        for each in labels
    ]
    return tuple(found + _again_and_again(pairs, names))


def _of_regions(regions: Regions, evidence: Evidence, image_size: tuple[int, int]) -> list[Suspect]:
    found = []
    height, width = evidence.maps.shape[1:]
    down, across = image_size[0] / height, image_size[1] / width
    for number, cluster in enumerate(regions.clusters, 1):
        if not cluster.stands_out:
            continue
        behind: dict[int, list[int]] = {}  # places among the members, by training image
        for place, member in enumerate(cluster.members.tolist()):
            behind.setdefault(int(evidence.indices[member]), []).append(place)
        for index, places in sorted(behind.items(), key=lambda item: (-len(item[1]), item[1])):
            members = cluster.members[places]
            y, x = cluster.peaks[places[0]].tolist()
            tall, wide = cluster.box[2:]
            top = min(max(0.0, y - tall / 2), height - tall)
            left = min(max(0.0, x - wide / 2), width - wide)
            found.append(
                Suspect(
                    index,
                    int(evidence.labels[members[0]]),
                    "region",
                    f"region {number}: in {cluster.images} training images, behind "
                    f"{cluster.share_of_mistakes:.0%} of the mistakes; this one is behind "
                    f"{len(places)}",
                    float(evidence.scores[members].double().mean()),
                    Region(
                        round(top * down),
                        round(left * across),
                        max(1, round(tall * down)),
                        max(1, round(wide * across)),
                    ),
                )
            )
    return found


def _again_and_again(pairs: Sequence[Pair], names: Mapping[int, str]) -> list[Suspect]:
    """Each training image once, by the pair of whose mistakes it is behind the most."""
    best: dict[int, tuple[int, Suspect]] = {}
    for pair in pairs:
        for opponent in pair.opponents:
            often = opponent.mistakes >= _AGAIN and opponent.share >= _AGAIN_SHARE
            if not often or best.get(opponent.index, (0,))[0] >= opponent.mistakes:
                continue
            reason = (
                f"behind {opponent.mistakes} of the {len(pair.mistakes)} mistakes "
                f"{names[pair.label]} called {names[pair.predicted]}"
            )
            best[opponent.index] = (
                opponent.mistakes,
                Suspect(opponent.index, opponent.label, "opponent", reason, opponent.score),
            )
    ordered = sorted(best.values(), key=lambda item: (-item[0], item[1].score, item[1].index))
    return [suspect for _, suspect in ordered]


def as_csv(suspects: Sequence[Suspect], files: Mapping[int, str | None]) -> str:
    """The table, a row a suspect and reason.

    No text can run as a formula in a spreadsheet: one that could gets an apostrophe before it.

    Args:
        suspects: In their order.
        files: Of the training images, where they are known.
    """
    text = io.StringIO(newline="")
    table = csv.writer(text)  # with the line ends of RFC 4180, so that any other is quoted
    table.writerow(COLUMNS)
    for each in suspects:
        region = "" if each.region is None else str(each.region)
        file = files.get(each.index) or ""
        table.writerow(
            [each.index, _harmless(file), _harmless(each.reason), f"{each.score:.6g}", region]
        )
    return text.getvalue()


def _harmless(text: str) -> str:
    """A text that no spreadsheet takes for a formula."""
    first = text.lstrip(" ")[:1]
    return f"'{text}" if first and first in _FORMULA else text
