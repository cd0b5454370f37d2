"""The rows of one `attribute` call: training images, each with its test image and labels."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any, TypeVar

from torch import Tensor

from captum_tfa.attr.kept_tests import tests_of_wrapper
from captum_tfa.attr.repeats import every_test, for_each_copy, for_each_test
from captum_tfa.scores import Score, SumOfScores
from captum_tfa.scores.distinct_tests import DistinctTests
from captum_tfa.scores.pairing import as_labels, as_tensors, label_rows, matched, same_dimensions

R = TypeVar("R", bound="Rows")


@dataclass(frozen=True)
class Rows(ABC):
    """``B`` training images with their labels, and the test examples that go with them.

    Attributes:
        train: the training images, one tensor for each input of the model, each ``[B, ...]``.
        train_target: their labels ``[B, ...]``, or ``None``.
        tests: the distinct test examples of the call.
        numbers: which of these go with the training images.
    """

    train: tuple[Tensor, ...]
    train_target: Tensor | None
    tests: DistinctTests
    numbers: tuple[int, ...]

    def __len__(self) -> int:
        return len(self.train[0])

    @property
    def test(self) -> tuple[Tensor, ...]:
        """The test images, one for each of ``numbers``, likewise."""
        return tuple(tensor[list(self.numbers)] for tensor in self.tests.images)

    @property
    def test_target(self) -> Tensor | None:
        """Their labels, or ``None``."""
        return label_rows(self.tests.labels, list(self.numbers))

    def of_part(self: R, part: Score, whole: Score) -> R:
        """The rows for a part of a sum of scores: its test gradients are its own."""
        return self if part is whole else replace(self, tests=self.tests.of_another_score())

    def labelled(self: R, score: Score) -> R:
        """The rows with labels for the training images: without any, what the model predicts.

        A method that changes the image asks about the label of the image as it came.
        """
        if self.train_target is not None:
            return self
        return replace(self, train_target=score.predictions(self.train))

    @abstractmethod
    def part(self: R, start: int, stop: int) -> R:
        """The training images from ``start`` to before ``stop`` with what goes with them."""

    @abstractmethod
    def at(self: R, points: tuple[Tensor, ...]) -> R:
        """``P`` points in the place of the one training image, all with what goes with it."""

    @abstractmethod
    def of_each_test(self) -> list[Pairs]:
        """The rows, apart for each test image that goes with all of them."""

    @abstractmethod
    def scores(self, score: Score, train: tuple[Tensor, ...]) -> Tensor:
        """Scores, a row for each of these tensors in the place of the training images."""


class Pairs(Rows):
    """Each training image goes with a test image of its own: ``B`` numbers."""

    def part(self, start: int, stop: int) -> Pairs:
        """As `Rows.part`."""
        rows = slice(start, stop)
        train = tuple(tensor[rows] for tensor in self.train)
        return Pairs(train, label_rows(self.train_target, rows), self.tests, self.numbers[rows])

    def at(self, points: tuple[Tensor, ...]) -> Pairs:
        """As `Rows.at`."""
        count = len(points[0])
        labels = _expanded(self.train_target, count)
        return Pairs(points, labels, self.tests, self.numbers * count)

    def of_each_test(self) -> list[Pairs]:
        """As `Rows.of_each_test`: they go apart already."""
        return [self]

    def scores(self, score: Score, train: tuple[Tensor, ...]) -> Tensor:
        """As `Rows.scores`, ``[B]``."""
        return score.paired(train, self.train_target, *score.gradients_of(self.tests, self.numbers))


class EachWithEvery(Rows):
    """Each training image goes with every one of ``M`` test images: ``M`` numbers.

    The tests share the forward pass of the training images, its deltas and its noise.
    """

    def part(self, start: int, stop: int) -> EachWithEvery:
        """As `Rows.part`."""
        rows = slice(start, stop)
        train = tuple(tensor[rows] for tensor in self.train)
        labels = label_rows(self.train_target, rows)
        return EachWithEvery(train, labels, self.tests, self.numbers)

    def at(self, points: tuple[Tensor, ...]) -> EachWithEvery:
        """As `Rows.at`."""
        labels = _expanded(self.train_target, len(points[0]))
        return EachWithEvery(points, labels, self.tests, self.numbers)

    def of_each_test(self) -> list[Pairs]:
        """As `Rows.of_each_test`, ``M`` of them."""
        return [
            Pairs(self.train, self.train_target, self.tests, (number,) * len(self))
            for number in self.numbers
        ]

    def scores(self, score: Score, train: tuple[Tensor, ...]) -> Tensor:
        """As `Rows.scores`, ``[B, M]``."""
        tests, every = score.gradients_of(self.tests, self.numbers)
        return score.against(train, self.train_target, tests.select(every), differentiable=True)


def _expanded(labels: Tensor | None, count: int) -> Tensor | None:
    """One row of labels as so many."""
    return None if labels is None else labels.expand(count, *labels.shape[1:])


def rows_of(score: Score, inputs: object, target: object, additional: object) -> Rows:
    """The rows that the arguments of `attribute` stand for.

    Args:
        score: the score that will be attributed.
        inputs: training images, a tensor or a tuple of tensors.
        target: their labels, or ``None``.
        additional: Captum's ``additional_forward_args``: the test side.

    Returns:
        `EachWithEvery` if there are ``M`` test images for one training image, or for ``B`` noisy
        copies of one as NoiseTunnel makes them: each test image then comes ``B`` times in turn.

    Raises:
        TypeError: inputs or labels of the wrong type.
        ValueError: no test image, too many arguments, labels given twice, rows that do not match.
    """
    device = next(score.model.parameters()).device
    train = as_tensors(inputs, "inputs", device)
    batch = len(train[0])
    given, given_target, given_own = _test_side(additional, target)
    test = as_tensors(given, "The test input", device)
    same_dimensions(test, train, "The test input")
    labels = as_labels(given_target, "The test label", device)
    own = as_labels(given_own, "The training label (target)", device)
    if isinstance(score, SumOfScores):  # its parts are asked about the same labels
        labels = score.predictions(test) if labels is None else labels
        own = score.predictions(train) if own is None else own
    together = every_test(batch, test, given, [(labels, given_target), (own, given_own)])
    if own is not None:
        own = matched(own, batch, "The training label (target)")
    if together:
        if isinstance(given, Tensor):
            test = tuple(tensor[::batch] for tensor in test)
        if labels is not None:
            labels = for_each_test(labels, given_target, len(test[0]), batch)
    else:
        if labels is not None:
            labels = matched(labels, batch, "The test label")
        test = tuple(for_each_copy(tensor, given, batch) for tensor in test)
    tests = tests_of_wrapper(
        score, given, given_target, together, lambda: DistinctTests(test, labels)
    )
    kind = EachWithEvery if together else Pairs
    return kind(train, own, tests, tuple(tests.rows))


def _test_side(additional: Any, target: Any) -> tuple[Any, Any, Any]:
    given = additional if isinstance(additional, tuple) else (additional,)
    if not 1 <= len(given) <= 3 or given[0] is None:
        raise ValueError(
            "additional_forward_args must say which test image is explained: test_inputs, "
            "(test_inputs, test_target) or (test_inputs, test_target, train_target); "
            f"{'nothing' if additional is None else f'{len(given)} arguments'} came."
        )
    test_inputs, test_target, train_target = (*given, None, None)[:3]
    if target is not None and train_target is not None:
        raise ValueError(
            "The training labels were given twice, as target and as the third of "
            "additional_forward_args; give them once."
        )
    return test_inputs, test_target, train_target if target is None else target


def row_chunks(score: Score, rows: R, size: int | None) -> Iterator[R]:
    """The rows in chunks of ``size``, or of as many as fit when ``size`` is ``None``.

    The gradient of the first test image, which is needed anyway, shows how much memory a row takes.

    Raises:
        ValueError: ``size`` is below 1.
    """
    if size is not None and (not hasattr(size, "__index__") or size < 1):
        raise ValueError(f"internal_batch_size is {size!r}; it must be at least 1, or None.")
    if size is None:
        first = rows.part(0, 1)
        score.gradients_of(first.tests, first.numbers)
    start = 0
    while start < len(rows):
        step = size or score.rows_at_once(rows.train)
        yield rows.part(start, start + step)
        start += step
