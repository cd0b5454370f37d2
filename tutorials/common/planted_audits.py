"""Training sets with a square on some of a class, and test sets in which it causes mistakes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from captum_tfa.demo import Pictures, predict
from captum_tfa.metrics.shortcuts import paint_region, some_of_class

RED = (255, 0, 0)


@dataclass(frozen=True, eq=False)
class Planted:
    """Pictures of training and test, and what is known about them.

    Attributes:
        train: The training set, some pictures of the class with the square.
        with_square: Which of them, boolean ``[N]``.
        test: The test set, some pictures of other classes with the square.
        carries: Which of them, boolean ``[T]``.
        twins: The test set the other way round: with the square where ``test`` is without.
        planted: The class.
        square: Where the square is, boolean ``[H, W]``.
    """

    train: Pictures
    with_square: Tensor
    test: Pictures
    carries: Tensor
    twins: Pictures
    planted: int
    square: Tensor


def plant(
    train: Pictures,
    test: Pictures,
    planted: int,
    square: Tensor,
    rate: float,
    test_rate: float,
    seed: int,
) -> Planted:
    """The square on a part of one class in training, and of all others in the test.

    Args:
        train: Without the square.
        test: Likewise.
        planted: The class whose training pictures carry it.
        square: Where, boolean ``[H, W]``.
        rate: The part of these pictures, in [0, 1].
        test_rate: The part of the other classes' test pictures, in [0, 1]. With 0 the square is
            missing from the test.
        seed: Of who carries it.
    """
    with_square = some_of_class(train.labels, planted, rate, seed)
    chance = torch.Generator().manual_seed(seed)
    carries = (torch.rand(len(test), generator=chance) < test_rate) & (test.labels != planted)
    return Planted(
        painted(train, with_square, square),
        with_square,
        painted(test, carries, square),
        carries,
        painted(test, ~carries, square),
        planted,
        square,
    )


def painted(pictures: Pictures, which: Tensor, square: Tensor) -> Pictures:
    """The pictures, some of them with the red square."""
    colour = torch.tensor(RED)
    if pictures.images.is_floating_point():
        colour = colour / 255
    images = paint_region(pictures.images, which, square, colour)
    return Pictures(images, pictures.labels, pictures.classes, transform=pictures.transform)


def some_of_each(pictures: Pictures, count: int, seed: int) -> Pictures:
    """So many random pictures of each class, or all if there are fewer."""
    chance = torch.Generator().manual_seed(seed)
    chosen: list[int] = []
    for label in range(len(pictures.classes)):
        there = (pictures.labels == label).nonzero().flatten()
        chosen += there[torch.randperm(len(there), generator=chance)[:count]].tolist()
    return pictures.part(chosen)


def learned(model: nn.Module, data: Planted) -> dict[str, float]:
    """Whether a network uses the square: shares of the test set, each picture in both forms."""
    said, other, labels = _both_answers(model, data)
    with_it = torch.where(data.carries, said, other)
    without = torch.where(data.carries, other, said)
    own = labels == data.planted
    return {
        "right": float((without == labels).float().mean()),
        "planted class, right without": float((without == labels)[own].float().mean()),
        "planted class, right with": float((with_it == labels)[own].float().mean()),
        "others, called so without": float((without == data.planted)[~own].float().mean()),
        "others, called so with": float((with_it == data.planted)[~own].float().mean()),
    }


def caused_by_square(model: nn.Module, data: Planted, mistakes: Sequence[int]) -> Tensor:
    """Which mistakes there would not be without what was planted, boolean ``[Q]``.

    A picture that carries the square and is called the planted class, but not without it; or one of
    the planted class that is answered rightly with the square, but not without it.
    """
    said, other, labels = _both_answers(model, data)
    there = data.carries & (said == data.planted) & (other != data.planted)
    missing = (labels == data.planted) & (said != labels) & (other == labels)
    return (there | missing)[list(mistakes)]


def _both_answers(model: nn.Module, data: Planted) -> tuple[Tensor, Tensor, Tensor]:
    said, labels = predict(model, data.test, batch_size=50)
    other, _ = predict(model, data.twins, batch_size=50)
    return said.argmax(1), other.argmax(1), labels
