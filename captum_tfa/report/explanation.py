"""What an explanation holds: the test image, the training images behind it, their maps."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from torch import Tensor

from captum_tfa.report.methods import Method

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Setting = str | int | float | bool | None


@dataclass(frozen=True)
class Answer:
    """One class that the model weighs for the test image.

    Attributes:
        label: The class, an index.
        name: The same in words.
        probability: Its softmax probability, in [0, 1].
    """

    label: int
    name: str
    probability: float


@dataclass(frozen=True, eq=False)
class TrainingExample:
    """One training image that speaks for or against the label asked about.

    Attributes:
        index: Its place in the training set.
        score: With the test image; > 0 proponent, < 0 opponent. A cosine is in [-1, 1].
        label: Its label, an index into the model's classes.
        label_name: The label in words.
        image: The picture for display, ``[C, H, W]`` in [0, 1].
        map: Which parts of this image make the score what it is: ``[C, H, W]``, the method's
            own numbers; for a layer ``[1, H, W]``.
        test_map: Which parts of the *test* image do, likewise.
        file: Where the picture lies, if the data set tells.
        more_maps: ``(map, test_map)`` by the names of further methods, if any were asked for.
    """

    index: int
    score: float
    label: int
    label_name: str
    image: Tensor
    map: Tensor
    test_map: Tensor
    file: str | None = None
    more_maps: Mapping[str, tuple[Tensor, Tensor]] = field(default_factory=dict)

    @property
    def score_text(self) -> str:
        """The score with its sign and three digits, however small it is."""
        return f"{self.score:+.3f}" if abs(self.score) >= 0.001 else f"{self.score:+.2e}"


@dataclass(frozen=True, eq=False)
class Explanation:
    """Which parts of which training images made the model say this about this test image.

    Attributes:
        test_image: The test picture for display, ``[C, H, W]`` in [0, 1].
        predicted: The class that the model says.
        predicted_name: The same in words.
        confidence: Softmax probability of ``predicted``, in [0, 1].
        label: The class asked about: the given ``test_target``, or else ``predicted``.
        label_name: The same in words.
        label_given: Whether ``label`` was given ("why not that?") or is the model's own
            ("why did it say this?").
        proponents: Training images whose learning makes ``label`` more likely here; highest
            score first, all scores > 0.
        opponents: Training images whose learning makes ``label`` less likely here; lowest
            score first, all scores < 0.
        method: What the maps are, and how they are shown: ``method.heat(map, score)`` is what
            the figure draws of a map.
        settings: What was asked for, by name.
        versions: Versions of the software that made it, by name.
        answers: The classes that the model finds most probable, at most five, best first.
        more_methods: What ``more_maps`` of the training examples are.
        score_name: The name that the score was asked for by. None: a score was given.
        test_file: Where the test picture lies, if it is known.
        made: When it was made, ISO 8601 in UTC, if it is known.
        seconds: How long that took.
        command: What makes it again, as typed in a shell. None: it was made in Python.
    """

    test_image: Tensor
    predicted: int
    predicted_name: str
    confidence: float
    label: int
    label_name: str
    label_given: bool
    proponents: tuple[TrainingExample, ...]
    opponents: tuple[TrainingExample, ...]
    method: Method
    settings: Mapping[str, Setting]
    versions: Mapping[str, str]
    answers: tuple[Answer, ...] = ()
    more_methods: tuple[Method, ...] = ()
    score_name: str | None = None
    test_file: str | None = None
    made: str | None = None
    seconds: float | None = None
    command: str | None = None

    @property
    def question(self) -> str:
        """What was asked, in words."""
        said = f"Why does the model say “{self.predicted_name}”"
        return f"{said}?" if self.label == self.predicted else f"{said}, not “{self.label_name}”?"

    def maps(self, example: TrainingExample) -> dict[Method, tuple[Tensor, Tensor]]:
        """All maps of one of the training examples, ``(map, test_map)`` by method, first first."""
        more = {method: example.more_maps[method.name] for method in self.more_methods}
        return {self.method: (example.map, example.test_map), **more}

    def plot(self) -> Figure:
        """A figure of the test image and its proponents and opponents with their maps.

        Each training image stands above its own map and the map on the test image. All maps share
        one colour scale. Works without a display and leaves matplotlib's backend alone. At most
        `figure.MOST_COLUMNS` images a side are drawn.

        Returns:
            A new matplotlib figure: ``.savefig(file)`` writes it; a notebook shows it.
        """
        from captum_tfa.report.figure import draw

        return draw(self)

    def save(self, directory: str | os.PathLike[str]) -> Path:
        """Writes a report, a figure, the numbers and the maps; all or nothing.

        ``report.html`` is for looking, in any browser and without a network; ``figure.png``,
        ``explanation.json`` and ``maps.safetensors`` are for papers and programs.

        The tensors are ``test_image [C, H, W]`` and, in the order of the entries,
        ``proponent_images``, ``opponent_images``, ``proponent_maps``, ``opponent_maps``,
        ``proponent_test_maps`` and ``opponent_test_maps``, all ``[K, C, H, W]`` (the maps of a
        layer ``[K, 1, H, W]``). The maps of further methods bear their name after a dot, as in
        ``proponent_maps.gradient``.

        Args:
            directory: Folder to write, made if it is not there. One that is empty or holds
                an earlier explanation and nothing else is replaced.

        Returns:
            The folder.

        Raises:
            FileExistsError: Something else lies there.
            OSError: The disk is full, the folder may not be written, ...; nothing is left.
        """
        from captum_tfa.report.saving import save

        return save(self, directory)

    def _repr_html_(self) -> str:
        """The report, as a notebook shows it."""
        from captum_tfa.report.page import in_notebook

        return in_notebook(self)
