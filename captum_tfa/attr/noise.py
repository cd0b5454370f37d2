"""Which noise a smooth map is the mean over: one regime for every method, image and device.

The deviation is a part of the image's own range of values, and a seed means the same noise for
every image: an image's map depends neither on the others of its batch nor on how many copies are
worked on at once [smilkov2017smoothgrad].
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from itertools import islice

import torch
from torch import Tensor


def noisy_copies(image: Tensor, count: int, noise_level: float = 0.1, seed: int = 0) -> Tensor:
    """``x + level · (max x − min x) · ε_i`` with ``ε_i ~ N(0, I)``, for ``i < count``.

    With one seed the first copies are the same however many are asked for, and the same noise is
    scaled to every level. PyTorch's global random state is not touched.

    Args:
        image: ``[1, ...]``, floating point.
        count: how many copies, at least 1.
        noise_level: deviation of the noise as a part of the image's max − min, at least 0.
        seed: of the noise, which is drawn on the CPU: it is the same on every device.

    Returns:
        ``[count, ...]``, in the type and on the device of the image.

    Raises:
        ValueError: more than one image, a count below 1, a level below 0 or not finite.
    """
    if not hasattr(count, "__index__") or count < 1:
        raise ValueError(f"{count!r} noisy copies are asked for; give a whole number, at least 1.")
    return torch.cat(list(islice(endless_copies(image, noise_level, seed), count)))


def endless_copies(image: Tensor, noise_level: float, seed: int) -> Iterator[Tensor]:
    """The copies of `noisy_copies` one after the other, ``[1, ...]`` each, without an end.

    Raises:
        ValueError: as `noisy_copies`.
    """
    if image.ndim == 0 or len(image) != 1:
        raise ValueError(f"image has the shape {list(image.shape)}; give one image, [1, ...].")
    if not 0 <= noise_level < math.inf:
        raise ValueError(
            f"noise_level is {noise_level!r}; give 0 or more: 0.1 is a tenth of the image's range."
        )
    spread = noise_level * float(image.max() - image.min())
    generator = torch.Generator().manual_seed(seed)
    return _drawn(image, spread, generator)


def _drawn(image: Tensor, spread: float, generator: torch.Generator) -> Iterator[Tensor]:
    while True:
        # One copy at a time: a draw of many at once would depend on how many they are.
        yield image + spread * torch.randn(image.shape, generator=generator).to(image)
