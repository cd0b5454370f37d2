"""What a data set tells about its own pictures: class names, files, normalisation.

Data sets of torchvision carry ``classes``, ``samples`` and ``transform``; `Subset` hides them
one step down. Nothing here is needed for the numbers, only for showing them.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import Subset


def class_names(dataset: Any) -> list[str] | None:
    """The data set's ``classes``, or None if it has none."""
    base, _ = _base(dataset, 0)
    names = getattr(base, "classes", None)
    if isinstance(names, Sequence) and not isinstance(names, str):
        return [str(name) for name in names]
    return None


def file_of(dataset: Any, index: int) -> str | None:
    """The file of picture ``index``, from ``samples`` as in ``ImageFolder``, or None."""
    base, index = _base(dataset, index)
    samples = getattr(base, "samples", None)
    try:
        file = samples[index][0]  # type: ignore[index]
    except (TypeError, IndexError, KeyError):
        return None
    return os.fspath(file) if isinstance(file, str | os.PathLike) else None


def normalisation(dataset: Any) -> tuple[list[float], list[float]] | None:
    """The ``(mean, std)`` of the last normalising step of the data set's transform, or None."""
    base, _ = _base(dataset, 0)
    found = None
    for step in _steps(getattr(base, "transform", None)):
        mean, std = getattr(step, "mean", None), getattr(step, "std", None)
        if _numbers(mean) and _numbers(std):
            found = (
                torch.as_tensor(mean).flatten().tolist(),
                torch.as_tensor(std).flatten().tolist(),
            )
    return found


def for_display(
    image: Tensor, statistics: tuple[Sequence[float], Sequence[float]] | None
) -> Tensor:
    """The picture in [0, 1] as a person knows it, on the CPU: ``[C, H, W]``.

    Args:
        image: As the model gets it, ``[C, H, W]``.
        statistics: ``(mean, std)`` of its normalisation, one value or one a channel. If None,
            or made for another number of channels, a picture that lies in [0, 1] stays as it
            is, and another is stretched from its minimum and maximum.
    """
    image = image.detach().float().cpu()
    if statistics is not None and all(len(part) in (1, len(image)) for part in statistics):
        mean, std = (torch.tensor(part, dtype=image.dtype).view(-1, 1, 1) for part in statistics)
        return (image * std + mean).clamp(0, 1)
    low, high = image.min(), image.max()
    if low >= 0 and high <= 1:
        return image
    return (image - low) / (high - low).clamp_min(torch.finfo(image.dtype).tiny)


def _base(dataset: Any, index: int) -> tuple[Any, int]:
    """The data set under any `Subset`, and the place there of example ``index``."""
    while isinstance(dataset, Subset):
        index = int(dataset.indices[index]) if len(dataset.indices) else 0
        dataset = dataset.dataset
    return dataset, index


def _steps(transform: Any) -> Iterator[Any]:
    """The steps of a transform, in order, whether it is a Compose, an nn.Sequential or one step."""
    inner = getattr(transform, "transforms", transform)
    if isinstance(inner, Iterable):
        for step in inner:
            yield from _steps(step)
    elif inner is not None:
        yield inner


def _numbers(value: Any) -> bool:
    if isinstance(value, Tensor):
        return True
    return isinstance(value, list | tuple) and all(isinstance(v, int | float) for v in value)
