"""A light CNN for small colour pictures: good enough to learn, small enough for two cores."""

from __future__ import annotations

from typing import Any

from torch import nn


class SmallCNN(nn.Sequential):
    """Five convolutions, each with BatchNorm and ReLU, then the mean over all places.

    About 125,000 parameters for ten classes. Pooling averages: the maximum would make the score
    jump where two places change their order, and the maps rough. The mean over places takes any
    input of at least 8 x 8 pixels; made for 32 x 32 to 64 x 64.

    Input ``[B, 3, H, W]``, output logits ``[B, num_classes]``.

    Args:
        num_classes: Number of classes, at least 2.

    Raises:
        ValueError: Fewer than two classes.
    """

    def __init__(self, num_classes: int) -> None:
        if num_classes < 2:
            raise ValueError(
                f"num_classes is {num_classes}; a classifier needs at least 2: add a class folder"
            )
        super().__init__(
            _block(3, 24),
            nn.AvgPool2d(2),
            _block(24, 48),
            _block(48, 48),
            nn.AvgPool2d(2),
            _block(48, 80),
            _block(80, 80),
            nn.AdaptiveAvgPool2d(1),
            nn.Flatten(),
            nn.Linear(80, num_classes),
        )

    def __getitem__(self, index: Any) -> Any:
        """A layer, or a part of the network as a plain ``nn.Sequential``."""
        if isinstance(index, slice):
            return nn.Sequential(*list(self)[index])
        return super().__getitem__(index)


def _block(channels_in: int, channels_out: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(channels_in, channels_out, kernel_size=3, padding=1, bias=False),
        nn.BatchNorm2d(channels_out),
        nn.ReLU(),
    )
