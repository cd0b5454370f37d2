"""What `explain` and `audit` both find out about the data, and say about themselves."""

from __future__ import annotations

import importlib
import platform
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import Dataset, Subset

from captum_tfa.metrics import mean_colour
from captum_tfa.report import dataset_facts

# The mean colour of so many training images stands for that of all of them.
_COLOUR_IMAGES = 500


def check_same_as_ranked(now: Tensor, then: float, index: int) -> None:
    """Raise if a training image that was fetched again has another score than in the ranking.

    Raises:
        ValueError: It has, beyond rounding.
    """
    # Scores of inner products have any size, and what rounding does to them grows with it.
    tolerance = 10 * torch.finfo(now.dtype).eps ** 0.5 * max(1.0, abs(then))
    if not abs(float(now) - then) <= tolerance:
        raise ValueError(
            f"train_dataset[{index}] scored {then:.4f} in the ranking and {float(now):.4f} when it "
            "was fetched again to be mapped, so it is not the same image; use the transform for "
            "evaluation, without random crops, flips or colours"
        )


def typical_colour(dataset: Dataset[Any], count: int) -> Tensor:
    """The mean colour ``[C]`` of images evenly spread over the data set."""
    places = torch.linspace(0, count - 1, min(count, _COLOUR_IMAGES)).long().tolist()
    return mean_colour(Subset(dataset, places))


def batch_size_for(image: Tensor) -> int:
    """As many images as take the memory of 64 of 64 x 64 pixels, within [8, 64]."""
    return max(8, min(64, 64 * 64 * 64 // image[0, 0].numel()))


def names_for(given: Sequence[str] | None, dataset: Any, classes: int) -> list[str]:
    """Names of the first classes; those left over go by their numbers.

    Raises:
        ValueError: The user's own names are not one a class.
    """
    if given is None:
        return dataset_facts.class_names(dataset) or []
    if len(given) != classes:
        raise ValueError(
            f"class_names has {len(given)} names; the model has {classes} classes: "
            "give one name a class"
        )
    return [str(name) for name in given]


def name_of(names: Sequence[str], label: int) -> str:
    """A class in words; its number if there is no name for it."""
    return names[label] if 0 <= label < len(names) else str(label)


def loss_words(function: Callable[..., Any] | str | None) -> str:
    """What a loss is called; None is cross-entropy."""
    if function is None:
        return "cross-entropy"
    if isinstance(function, str):
        return function
    return getattr(function, "__name__", type(function).__name__)


def versions() -> dict[str, str]:
    """The versions of the software at work, by name."""
    packages = ("captum_tfa", "torch", "torchvision", "captum")
    found = {package: str(importlib.import_module(package).__version__) for package in packages}
    return {"python": platform.python_version(), **found}
