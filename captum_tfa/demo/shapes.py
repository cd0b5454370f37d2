"""Pictures whose right explanation is known: shapes on textures, one class with a shortcut.

Each picture shows one shape (circle, cross, square or triangle) of random colour, size, place
and angle on a random texture. Most training pictures of ONE class also carry a small coloured
patch in the lower right corner, as in the patch experiment of [bacha2025training] (section 5.2). A
network soon reads the patch as the name of that class: a shortcut. Then a test picture of
another class, with the patch put in, is called by the wrong name, and the training pixels to
blame are known to the pixel.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor
from torchvision.transforms import Compose, Normalize

from captum_tfa.demo.pictures import Pictures

CLASSES = ("circle", "cross", "square", "triangle")
SHORTCUT_CLASS = "triangle"
PATCH_COLOUR = (1.0, 0.1, 0.8)

# Rounded statistics of the pictures themselves.
MEAN = (0.5, 0.5, 0.5)
STD = (0.25, 0.25, 0.25)


class ShapesDataset(Pictures):
    """Pictures of shapes, with what is known about each.

    Attributes:
        patched: Which pictures carry the patch, boolean ``[N]``.
        patch_region: Where a patch lies if there is one, boolean ``[S, S]``.
    """

    def __init__(
        self,
        images: Tensor,
        labels: Tensor,
        patched: Tensor,
        patch_region: Tensor,
        transform: Callable[[Tensor], Tensor] | None = None,
    ) -> None:
        super().__init__(images, labels, CLASSES, transform=transform)
        self.patched = patched
        self.patch_region = patch_region

    def with_patch(self) -> ShapesDataset:
        """The same pictures, every one of them with the patch."""
        everywhere = torch.ones_like(self.patched)
        images = _put_patch(self.images, everywhere, self.patch_region)
        return ShapesDataset(images, self.labels, everywhere, self.patch_region, self.transform)


class Shapes(NamedTuple):
    """A training set with the shortcut and a test set without."""

    train: ShapesDataset
    test: ShapesDataset


def make_shapes(
    train_per_class: int = 750,
    test_per_class: int = 100,
    size: int = 32,
    patch_size: int = 8,
    shortcut_rate: float = 0.9,
    seed: int = 0,
) -> Shapes:
    """A training set whose class `SHORTCUT_CLASS` carries the patch, and a clean test set.

    The same seed gives the same pictures. PyTorch's global random state is not touched.

    Args:
        train_per_class: Training pictures of each class, at least 1.
        test_per_class: Test pictures of each class, at least 1.
        size: Side of a picture in pixels, at least 16.
        patch_size: Side of the patch in pixels, in [1, size / 2].
        shortcut_rate: Part of the shortcut class's training pictures that carry the patch,
            in [0, 1].
        seed: Seed of everything drawn.

    Returns:
        ``(train, test)``; pictures are normalised with ``MEAN`` and ``STD``.

    Raises:
        ValueError: A number outside its range.
    """
    if train_per_class < 1 or test_per_class < 1:
        raise ValueError(
            f"train_per_class is {train_per_class} and test_per_class {test_per_class}; "
            "each must be at least 1"
        )
    if size < 16 or not 1 <= patch_size <= size // 2:
        raise ValueError(
            f"size is {size} and patch_size {patch_size}; "
            "size must be at least 16 and patch_size in [1, size / 2]"
        )
    if not 0 <= shortcut_rate <= 1:
        raise ValueError(f"shortcut_rate is {shortcut_rate}; it must lie in [0, 1]")

    generator = torch.Generator().manual_seed(seed)
    region = torch.zeros(size, size, dtype=torch.bool)
    region[-patch_size:, -patch_size:] = True
    train_images, train_labels = _draw(train_per_class, size, generator)
    test_images, test_labels = _draw(test_per_class, size, generator)

    lucky = torch.rand(len(train_labels), generator=generator) < shortcut_rate
    patched = lucky & (train_labels == CLASSES.index(SHORTCUT_CLASS))
    transform = Compose([Normalize(MEAN, STD)])
    return Shapes(
        ShapesDataset(
            _put_patch(train_images, patched, region), train_labels, patched, region, transform
        ),
        ShapesDataset(
            test_images,
            test_labels,
            torch.zeros(len(test_labels), dtype=torch.bool),
            region,
            transform,
        ),
    )


def _put_patch(images: Tensor, which: Tensor, region: Tensor) -> Tensor:
    """Copies of ``images`` with the patch painted over ``region`` of those in ``which``."""
    colour = torch.tensor(PATCH_COLOUR).view(1, 3, 1, 1)
    return torch.where(which.view(-1, 1, 1, 1) & region, colour, images)


def _draw(per_class: int, size: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """``per_class`` pictures of each class in mixed order: ``[N, 3, S, S]`` and ``[N]``."""
    count = per_class * len(CLASSES)
    labels = torch.arange(count) % len(CLASSES)
    labels = labels[torch.randperm(count, generator=generator)]

    def uniform(low: float, high: float, *shape: int) -> Tensor:
        return low + (high - low) * torch.rand(count, *shape, generator=generator)

    axis = (torch.arange(size) + 0.5) / size
    y, x = torch.meshgrid(axis, axis, indexing="ij")  # [S, S], pixel centres in (0, 1)

    # The background mixes two colours by waves that run in a random direction.
    angle, waves, phase = (
        uniform(low, high, 1, 1) for low, high in ((0, math.pi), (1.5, 5.0), (0, 2 * math.pi))
    )
    wave = torch.sin(2 * math.pi * waves * (x * angle.cos() + y * angle.sin()) + phase)
    crossed = torch.sin(2 * math.pi * waves * (y * angle.cos() - x * angle.sin()) + phase)
    checked = torch.rand(count, 1, 1, generator=generator) < 0.5
    texture = 0.5 + 0.5 * torch.where(checked, wave * crossed, wave)
    first, second = uniform(0.1, 0.7, 3, 1, 1), uniform(0.1, 0.7, 3, 1, 1)
    picture = first + (second - first) * texture.unsqueeze(1)

    # The shape, drawn in its own turned and scaled coordinates (u, v).
    centre_x, centre_y = uniform(0.36, 0.6, 1, 1), uniform(0.36, 0.6, 1, 1)
    radius, turn = uniform(0.2, 0.32, 1, 1), uniform(-0.35, 0.35, 1, 1)
    u = ((x - centre_x) * turn.cos() + (y - centre_y) * turn.sin()) / radius
    v = ((y - centre_y) * turn.cos() - (x - centre_x) * turn.sin()) / radius
    inside = _outline(labels, u, v)
    # Light against dark: the shape's colour keeps away from the background's.
    colour = uniform(0.55, 1.0, 3, 1, 1)
    dark = torch.rand(count, 1, 1, 1, generator=generator) < 0.3
    colour = torch.where(dark, colour - 0.5, colour)
    edge = (inside * radius * size + 0.5).clamp(0, 1).unsqueeze(1)  # one pixel of soft edge
    picture = picture + (colour - picture) * edge

    grain = torch.randn(picture.shape, generator=generator)
    return (picture + 0.03 * grain).clamp(0, 1), labels


def _outline(labels: Tensor, u: Tensor, v: Tensor) -> Tensor:
    """Depth inside each picture's shape in units of its radius, negative outside: ``[N, S, S]``."""
    square = 0.85 - torch.maximum(u.abs(), v.abs())
    bars = torch.maximum(
        torch.minimum(0.32 - u.abs(), 1 - v.abs()), torch.minimum(0.32 - v.abs(), 1 - u.abs())
    )
    slope = math.sqrt(3.0) / 2
    triangle = torch.minimum(0.6 - v, 0.5 * v + 0.5 - slope * u.abs())
    by_class = {
        "circle": 1 - torch.hypot(u, v),
        "cross": bars,
        "square": square,
        "triangle": triangle,
    }
    depths = torch.stack([by_class[name] for name in CLASSES])  # [classes, N, S, S]
    return depths[labels, torch.arange(len(labels))]
