"""Finds what is wrong with the arguments of `audit` before any long work starts."""

from __future__ import annotations

import operator
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import Dataset

from captum_tfa.auditing.opponents import Ranked
from captum_tfa.report import arguments
from captum_tfa.scores import Score

_SEEDS = 2**63


def check_numbers(max_mistakes: int | None, controls: int, seed: int) -> None:
    """Raises ValueError for the first of the audit's own numbers outside its range."""
    for name, value in (("max_mistakes", max_mistakes), ("controls", controls)):
        if name == "max_mistakes" and value is None:
            continue
        number = _whole(value)
        if number is None or number < 1:
            more = ", or None for all mistakes" if name == "max_mistakes" else ""
            raise ValueError(f"{name} is {value!r}; it must be a whole number, at least 1{more}")
    number = _whole(seed)
    if number is None or not 0 <= number < _SEEDS:
        raise ValueError(f"seed is {seed!r}; it must be a whole number from 0 to {_SEEDS - 1}")


def check_method(method: Any) -> None:
    """Raises ValueError if several maps are asked for."""
    if method is not None and not isinstance(method, str):
        raise ValueError(f"method is {method!r}; an audit draws one map an image: give one name")


def check_test_set(dataset: Any) -> tuple[int, Tensor]:
    """The number of examples of a test set, and the image of the first, ``[C, H, W]``.

    Raises:
        ValueError: It is no map-style data set of ``(image, class label)``, or is empty, or gives
            other images each time.
    """
    if hasattr(dataset, "__len__") and len(dataset) == 0:
        raise ValueError(
            "test_dataset is empty; give labelled images that the model was not trained on"
        )
    if hasattr(dataset, "__getitem__"):
        image = arguments.check_image(arguments.example(dataset, 0, "test_dataset")[0])[0]
        return arguments.check_dataset(dataset, len(image), "test_dataset"), image
    return arguments.check_dataset(dataset, 0, "test_dataset"), torch.empty(0)  # raises


def refuse_other_score(
    score: Score,
    train_dataset: Dataset[Any],
    test_dataset: Dataset[Any],
    mistakes: Tensor,
    ranked: Ranked,
) -> None:
    """Raise if results that were kept are of another score, which no name tells apart.

    Raises:
        ValueError: The worst opponent of a mistake has another score now.
    """
    places = (ranked.scores[:, :1] < 0).nonzero()[:, 0].tolist()
    if not places:
        return
    place = places[0]
    device = next(score.model.parameters()).device
    test, label = arguments.example(test_dataset, int(mistakes[place]), "test_dataset")
    index, then = int(ranked.indices[place, 0]), float(ranked.scores[place, 0])
    image, own = arguments.example(train_dataset, index)
    with torch.no_grad():
        now = float(
            score(
                image[None].to(device),
                test[None].to(device),
                torch.tensor([label], device=device),
                torch.tensor([own], device=device),
            )
        )
    if not abs(now - then) <= 1e-2 * max(abs(now), abs(then)):
        raise ValueError(
            f"the folder belongs to an audit with another score: training image {index} has "
            f"{then:.4g} there and {now:.4g} now. Name another folder, or take the same score"
        )


def _whole(value: Any) -> int | None:
    try:
        return None if isinstance(value, bool) else operator.index(value)
    except TypeError:
        return None
