"""Finds what is wrong with the arguments of `audit` before any long work starts."""

from __future__ import annotations

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
    if max_mistakes is not None:
        arguments.check_whole("max_mistakes", max_mistakes, 1, ", or None for all mistakes")
    arguments.check_whole("controls", controls, 1)
    arguments.check_seed(seed, _SEEDS)


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
