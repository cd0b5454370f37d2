"""Labelled pictures held in memory, for training that goes over them many times."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor

import torch
from torch import Tensor
from torch.utils.data import Dataset
from torchvision.datasets import DatasetFolder
from torchvision.transforms import Compose, ConvertImageDtype, Normalize
from tqdm.auto import tqdm


class Pictures(Dataset[tuple[Tensor, int]]):
    """A map-style dataset of ``(image [3, S, S], label)`` over tensors.

    Attributes:
        images: The plain pictures, ``[N, 3, S, S]``: float in [0, 1], or uint8.
        labels: ``[N]``, int64.
        classes: Class names; a label is an index into it.
        samples: ``(file, label)`` of each picture, or None if they come from no files.
        transform: Applied to a picture when it is asked for, or None.
    """

    def __init__(
        self,
        images: Tensor,
        labels: Tensor,
        classes: Sequence[str],
        samples: Sequence[tuple[str, int]] | None = None,
        transform: Callable[[Tensor], Tensor] | None = None,
    ) -> None:
        self.images = images
        self.labels = labels
        self.classes = list(classes)
        self.samples = samples
        self.transform = transform

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        image = self.images[index]
        if self.transform is not None:
            image = self.transform(image)
        return image, int(self.labels[index])

    def part(self, indices: Sequence[int]) -> Pictures:
        """Some of the pictures, in the order of ``indices``."""
        chosen = list(indices)
        samples = None if self.samples is None else [self.samples[index] for index in chosen]
        return Pictures(
            self.images[chosen], self.labels[chosen], self.classes, samples, self.transform
        )

    def normalised(self) -> Compose:
        """A transform to float that gives these pictures mean 0 and deviation 1 a channel."""
        total, squares = torch.zeros(3, dtype=torch.double), torch.zeros(3, dtype=torch.double)
        for chunk in self.images.split(1000):  # a float64 copy of all would fill the memory
            values = ConvertImageDtype(torch.double)(chunk)
            total += values.sum(dim=(0, 2, 3))
            squares += (values * values).sum(dim=(0, 2, 3))
        count = self.images[:, 0].numel()
        mean = total / count
        std = (squares / count - mean * mean).clamp_min(1e-4).sqrt()
        to_float = ConvertImageDtype(torch.float)
        return Compose([to_float, Normalize(mean.tolist(), std.tolist())])


def read_pictures(folder: DatasetFolder, what: str, show_progress: bool = False) -> Pictures:
    """All pictures of a folder data set, read once.

    Args:
        folder: Yields ``(uint8 image [3, S, S], label)``.
        what: Names them in the progress bar.
        show_progress: Show a progress bar.
    """
    images, labels = [], []
    # Threads, since most of the time goes into waiting for the disk.
    pool = ThreadPoolExecutor()
    try:
        found = pool.map(folder.__getitem__, range(len(folder)))
        for image, label in tqdm(
            found,
            desc=f"reading {what}",
            total=len(folder),
            unit="image",
            disable=not show_progress,
        ):
            images.append(image)
            labels.append(label)
    finally:
        pool.shutdown(cancel_futures=True)  # a broken file or Ctrl-C ends the others too
    return Pictures(torch.stack(images), torch.tensor(labels), folder.classes, folder.samples)
