"""What an audit holds: the mistakes, and the parts of the training data behind them."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from torch import Tensor

from captum_tfa.auditing.clusters import Cluster
from captum_tfa.auditing.evidence import Evidence
from captum_tfa.auditing.opponents import Pair, Ranked
from captum_tfa.auditing.regions import ControlNumbers, Regions
from captum_tfa.auditing.suspected_labels import SuspectedLabel
from captum_tfa.auditing.suspects import Suspect, as_csv
from captum_tfa.auditing.writing import write_whole
from captum_tfa.report.explanation import Setting
from captum_tfa.report.methods import Method


@dataclass(frozen=True, eq=False)
class Mistake:
    """A test image that the model gets wrong.

    Attributes:
        index: Its place in the test set.
        label: Its right class.
        predicted: The class that the model says.
        confidence: Softmax probability of ``predicted``, in [0, 1].
        opponents: Training images that speak most against the right class here, worst first.
        scores: Their scores, all below 0.
        image: Its picture as shown, ``uint8 [C, H, W]``, at the size of the maps.
        file: Where it lies, if the data set tells.
    """

    index: int
    label: int
    predicted: int
    confidence: float
    opponents: tuple[int, ...]
    scores: tuple[float, ...]
    image: Tensor
    file: str | None = None


@dataclass(frozen=True, eq=False)
class Audit:
    """Which parts of the training data are behind a model's mistakes.

    Attributes:
        mistakes: Those that were explained, the surest first.
        pairs: For each (right, predicted) pair of classes the opponents that come up again and
            again; the pair with the most mistakes first.
        regions: The search for regions, with its embedding and its control. None: no mistake has
            an opponent.
        suspected_labels: Training images whose label may be wrong, the most suspicious first.
        suspicion: How suspicious each training image's label is, ``[N]``; higher is more.
        suspects: Which training images to look at, and why: regions, labels, opponents.
        evidence: The maps that were searched. None: no mistake has an opponent.
        all_mistakes: How many mistakes the model makes on the test set, explained or not.
        tested: How many test images there are.
        class_names: Class names by class.
        train_labels: Labels of the training images that are named here.
        train_files: Their files, where known.
        pictures: Pictures of those whose label is suspected, as shown, ``uint8 [C, H, W]``.
        image_size: ``(H, W)`` of the training images, in whose pixels regions are told.
        method: What the maps are.
        settings: What was asked for, by name.
        versions: Versions of the software that made it, by name.
        made: When it was made, ISO 8601 in UTC.
        seconds: How long that took, or took to go on where an earlier one stopped.
        command: What makes it again, as typed in a shell. None: it was made in Python.
    """

    mistakes: tuple[Mistake, ...]
    pairs: tuple[Pair, ...]
    regions: Regions | None
    suspected_labels: tuple[SuspectedLabel, ...]
    suspicion: Tensor
    suspects: tuple[Suspect, ...]
    evidence: Evidence | None
    all_mistakes: int
    tested: int
    class_names: Mapping[int, str]
    train_labels: Mapping[int, int]
    train_files: Mapping[int, str | None]
    pictures: Mapping[int, Tensor]
    image_size: tuple[int, int]
    method: Method
    settings: Mapping[str, Setting]
    versions: Mapping[str, str] = field(default_factory=dict)
    made: str | None = None
    seconds: float | None = None
    command: str | None = None

    @property
    def clusters(self) -> tuple[Cluster, ...]:
        """Regions of training images that look and lie alike, the most striking first."""
        return () if self.regions is None else self.regions.clusters

    @property
    def control(self) -> ControlNumbers | None:
        """What the most striking cluster is compared with."""
        return None if self.regions is None else self.regions.control

    @property
    def accuracy(self) -> float:
        """The part of the test images that the model gets right, in [0, 1]."""
        return 1 - self.all_mistakes / self.tested

    @property
    def says(self) -> str:
        """What was found about regions, in a sentence."""
        if not self.all_mistakes:
            return f"The model makes no mistake on these {self.tested:,} test images."
        if self.regions is None:
            return "No training image speaks against the right class of any mistake."
        return self.regions.says

    def report(self, path: str | os.PathLike[str]) -> Path:
        """Writes the report: one HTML file that opens in any browser, without a network.

        Args:
            path: The file, whole or not at all; one that is there is replaced.

        Returns:
            Its path.

        Raises:
            OSError: It cannot be written.
        """
        from captum_tfa.auditing.page import render

        return write_whole(path, render(self))

    def to_csv(self, path: str | os.PathLike[str]) -> Path:
        """Writes the suspects: index, file, reason, score, region; in UTF-8.

        A spreadsheet runs nothing of it as a formula.

        Args:
            path: The file, whole or not at all; one that is there is replaced.

        Returns:
            Its path.

        Raises:
            OSError: It cannot be written.
        """
        return write_whole(path, as_csv(self.suspects, self.train_files))

    def _repr_html_(self) -> str:
        """The report, as a notebook shows it."""
        from captum_tfa.auditing.page import in_notebook

        return in_notebook(self)


def mistakes_of(
    places: Tensor,
    labels: Tensor,
    predicted: Tensor,
    confidence: Tensor,
    ranked: Ranked,
    images: Tensor,
    files: Mapping[int, str | None],
) -> tuple[Mistake, ...]:
    """The mistakes, of what is known of them in the order of ``places``."""
    found = []
    for place, test in enumerate(places.tolist()):
        row = ranked.scores[place] < 0
        found.append(
            Mistake(
                test,
                int(labels[test]),
                int(predicted[test]),
                float(confidence[test]),
                tuple(ranked.indices[place][row].tolist()),
                tuple(ranked.scores[place][row].tolist()),
                images[place],
                files.get(test),
            )
        )
    return tuple(found)
