"""What an audit looks for regions in: maps of the training images behind each mistake."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True, eq=False)
class Evidence:
    """Maps of ``M`` pairs of a mistake and a training image.

    Attributes:
        mistakes: place of the mistake in the list of mistakes, ``[M]``, whole numbers from 0.
        indices: the training image's place in the training set, ``[M]``.
        labels: its label, ``[M]``.
        scores: its score for that mistake, ``[M]``; below 0 for opponents.
        maps: ``[M, H, W]``, of the training image's size, summed over channels. The sign is kept:
            what is below 0 makes the score lower. A map of a method without a sign is given the
            sign of its pair's score.
        images: the training image's pixels as shown, ``[M, C, H, W]``: floats in [0, 1], or
            ``uint8`` to save memory.

    Raises:
        TypeError: not tensors, or not of these types.
        ValueError: no pair, shapes that do not fit together, numbers that are not finite, or pixels
            outside [0, 1].
    """

    mistakes: Tensor
    indices: Tensor
    labels: Tensor
    scores: Tensor
    maps: Tensor
    images: Tensor

    def __post_init__(self) -> None:
        for name in ("mistakes", "indices", "labels", "scores", "maps", "images"):
            if not isinstance(getattr(self, name), Tensor):
                raise TypeError(f"{name} is {type(getattr(self, name)).__name__}; give a tensor")
        for name in ("mistakes", "indices", "labels"):
            whole = getattr(self, name)
            if whole.is_floating_point() or whole.is_complex() or whole.dtype == torch.bool:
                raise TypeError(f"{name} has the type {whole.dtype}; give whole numbers")
        if self.maps.ndim != 3 or self.images.ndim != 4:
            raise ValueError(
                f"maps has the shape {tuple(self.maps.shape)} and images "
                f"{tuple(self.images.shape)}; they must be [M, H, W] and [M, C, H, W]"
            )
        if len(self.maps) == 0 or self.maps[0].numel() == 0:
            raise ValueError("the evidence holds no pair; there is nothing to look for regions in")
        for name in ("mistakes", "indices", "labels", "scores"):
            if getattr(self, name).shape != self.maps.shape[:1]:
                raise ValueError(
                    f"{name} has the shape {tuple(getattr(self, name).shape)}; "
                    f"there are {len(self.maps)} maps: give one number a map"
                )
        if self.images.shape[:1] + self.images.shape[2:] != self.maps.shape:
            raise ValueError(
                f"images has the shape {tuple(self.images.shape)} and maps "
                f"{tuple(self.maps.shape)}; each map must be as large as its image"
            )
        for name in ("scores", "maps"):
            if not getattr(self, name).isfinite().all():
                raise ValueError(f"{name} has values that are not finite")
        if self.images.dtype != torch.uint8 and not (
            self.images.is_floating_point() and ((self.images >= 0) & (self.images <= 1)).all()
        ):
            raise ValueError("images must be floats in [0, 1], as shown, or uint8")

    def __len__(self) -> int:
        return len(self.maps)

    @property
    def pixels(self) -> Tensor:
        """The images as floats in [0, 1], ``[M, C, H, W]``."""
        return self.images.float() / 255 if self.images.dtype == torch.uint8 else self.images

    @property
    def responsible(self) -> Tensor:
        """What makes each score what it is: the part of a map with its score's sign, at least 0."""
        return self.responsible_of(slice(None))

    def responsible_of(self, pairs: int | slice) -> Tensor:
        """The same of one pair, ``[H, W]``, or of some, ``[m, H, W]``."""
        sign = self.scores[pairs].sign().to(self.maps.dtype)
        return (self.maps[pairs] * sign[..., None, None]).clamp(min=0)
