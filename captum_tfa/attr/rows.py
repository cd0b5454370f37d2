"""The rows of one `attribute` call: training images, each with its test image and labels."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor

from captum_tfa.attr.repeats import every_test, for_each_copy, for_each_test
from captum_tfa.gradients import StoredGradients
from captum_tfa.scores import Score, SumOfScores
from captum_tfa.scores.pairing import (
    as_labels,
    as_tensors,
    label_rows,
    matched,
    same_dimensions,
)

_MOST_ROWS = 64
_MOST_BYTES_ON_CPU = 2**30


@dataclass(frozen=True)
class Rows:
    """Training images and what goes with each of them, all with ``B`` rows.

    Attributes:
        train: the training images, one tensor for each input of the model.
        test: the test images, likewise.
        test_target: their labels, or ``None``.
        train_target: the training images' labels, or ``None``.
        known: the test gradients of the chunk before: its test images mostly come again.
    """

    train: tuple[Tensor, ...]
    test: tuple[Tensor, ...]
    test_target: Tensor | None
    train_target: Tensor | None
    known: dict[bytes, StoredGradients] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.train[0])

    def part(self, start: int, stop: int) -> Rows:
        """The rows from ``start`` to before ``stop``."""
        rows = slice(start, stop)
        return Rows(
            tuple(tensor[rows] for tensor in self.train),
            tuple(tensor[rows] for tensor in self.test),
            label_rows(self.test_target, rows),
            label_rows(self.train_target, rows),
            self.known,
        )

    def at(self, points: tuple[Tensor, ...]) -> Rows:
        """``P`` points in the place of the one training image, all with what goes with it."""
        count = len(points[0])
        return Rows(
            points,
            tuple(tensor.expand(count, *tensor.shape[1:]) for tensor in self.test),
            _expanded(self.test_target, count),
            _expanded(self.train_target, count),
            self.known,
        )

    def of_part(self) -> Rows:
        """The rows for another part of a sum of scores: its test gradients are others."""
        return replace(self, known={})

    def labelled(self, score: Score) -> Rows:
        """The rows with labels for the training images: without any, what the model predicts.

        A method that changes the image asks about the label of the image as it came.
        """
        if self.train_target is not None:
            return self
        return replace(self, train_target=score.predictions(self.train))

    def of_each_test(self) -> list[Rows]:
        """The rows, apart for each test image that goes with all of them."""
        return [self]

    def scores(self, score: Score, train: tuple[Tensor, ...]) -> Tensor:
        """Scores ``[B]`` with these tensors in the place of the training images."""
        tests, rows = score.distinct_tests(self.test, self.test_target, self.known)
        return score.paired(train, self.train_target, tests, rows)


class EveryTest(Rows):
    """``B`` training images, each of which goes with every one of ``M`` test images.

    The tests share the forward pass of the training images, its deltas and its noise. ``test`` and
    ``test_target`` have ``M`` rows.
    """

    def part(self, start: int, stop: int) -> EveryTest:
        """The training images from ``start`` to before ``stop``, with every test image."""
        rows = slice(start, stop)
        train = tuple(tensor[rows] for tensor in self.train)
        labels = label_rows(self.train_target, rows)
        return EveryTest(train, self.test, self.test_target, labels, self.known)

    def at(self, points: tuple[Tensor, ...]) -> EveryTest:
        """``P`` points in the place of the one training image, each with every test image."""
        labels = _expanded(self.train_target, len(points[0]))
        return EveryTest(points, self.test, self.test_target, labels, self.known)

    def of_each_test(self) -> list[Rows]:
        """For each of the ``M`` test images the rows that go with it."""
        size = len(self)
        return [
            Rows(
                self.train,
                tuple(tensor[[test]].expand(size, *tensor.shape[1:]) for tensor in self.test),
                _expanded(label_rows(self.test_target, [test]), size),
                self.train_target,
            )
            for test in range(len(self.test[0]))
        ]

    def scores(self, score: Score, train: tuple[Tensor, ...]) -> Tensor:
        """Scores ``[B, M]`` with these tensors in the place of the training images."""
        tests, every = score.distinct_tests(self.test, self.test_target, self.known)
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
        `EveryTest` if there are ``M`` test images for one training image, or for ``B`` noisy
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
        return EveryTest(train, test, labels, own)
    if labels is not None:
        labels = matched(labels, batch, "The test label")
    test = tuple(for_each_copy(tensor, given, batch) for tensor in test)
    return Rows(train, test, labels, own)


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


def row_chunks(score: Score, rows: Rows, size: int | None) -> Iterator[Rows]:
    """The rows in chunks of ``size``, or of as many as fit when ``size`` is ``None``.

    The first chunk is then a single row, and shows how much memory a row takes.

    Raises:
        ValueError: ``size`` is below 1.
    """
    if size is not None and (not hasattr(size, "__index__") or size < 1):
        raise ValueError(f"internal_batch_size is {size!r}; it must be at least 1, or None.")
    start = 0
    while start < len(rows):
        step = size or score.rows_that_fit(_free_bytes(rows.train[0].device), _MOST_ROWS)
        yield rows.part(start, start + step)
        start += step


def _free_bytes(device: torch.device) -> int:
    """A quarter of the memory that is free; on a CPU, where more is no faster, at most 1 GiB."""
    if device.type == "cuda":
        return int(torch.cuda.mem_get_info(device)[0] // 4)
    try:
        free = os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, ValueError, OSError):  # not every system tells
        free = 4 * _MOST_BYTES_ON_CPU
    return min(free // 4, _MOST_BYTES_ON_CPU)
