"""The label of every training image, without loading the images where the data set tells."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.utils.data import Subset
from tqdm.auto import tqdm

from captum_tfa.report import arguments

# So many labels that a data set tells are compared with those that come with its images.
_COMPARED = 32


def labels_of(dataset: Any, show_progress: bool = False) -> Tensor:
    """Labels of all examples, ``[N]``, on the CPU.

    Data sets of torchvision tell them in ``targets``, ``labels`` or ``samples``, also through
    `Subset`. Elsewhere, and where what is told is not what comes with some of the images, every
    image is fetched.

    Args:
        dataset: Yields ``(image, label)``.
        show_progress: Show a progress bar where images are fetched.

    Raises:
        ValueError: An example that is no pair of an image and a class.
    """
    count = len(dataset)
    told = _told(dataset)
    if told is not None and len(told) == count:
        places = torch.linspace(0, count - 1, min(count, _COMPARED)).long().tolist()
        if all(arguments.example(dataset, p)[1] == int(told[p]) for p in places):
            return told
    with tqdm(range(count), "labels", unit="image", disable=not show_progress) as bar:
        return torch.tensor([arguments.example(dataset, place)[1] for place in bar])


def _told(dataset: Any) -> Tensor | None:
    """What a data set tells of its labels, whole numbers ``[N]``."""
    if isinstance(dataset, Subset):
        below = _told(dataset.dataset)
        return None if below is None else below[torch.as_tensor(list(dataset.indices)).long()]
    if getattr(dataset, "target_transform", None) is not None:
        return None
    for name in ("targets", "labels"):
        found = _whole_numbers(getattr(dataset, name, None))
        if found is not None:
            return found
    samples = getattr(dataset, "samples", None)
    if isinstance(samples, list) and all(
        isinstance(each, tuple | list) and len(each) == 2 for each in samples
    ):
        return _whole_numbers([label for _, label in samples])
    return None


def _whole_numbers(values: Any) -> Tensor | None:
    try:
        found = torch.as_tensor(values).cpu()
    except (TypeError, ValueError, RuntimeError):
        return None
    whole = not found.is_floating_point() and not found.is_complex() and found.dtype != torch.bool
    return found.long() if found.ndim == 1 and whole else None
