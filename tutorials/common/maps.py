"""Smooth maps of one training picture for one test picture, on pixels or on layers."""

from __future__ import annotations

import torch
from matplotlib.axes import Axes
from torch import Tensor

from captum_tfa import LayerTrainingGradCos, SmoothGrad, TrainingGradCos
from captum_tfa.attr import noisy_copies

Example = tuple[Tensor, int]
"""An image ``[C, H, W]`` and its label."""


def copies_maps(
    method: TrainingGradCos | LayerTrainingGradCos,
    train: Example,
    test: Example,
    samples: int,
    noise_level: float,
    seed: int = 0,
) -> list[Tensor]:
    """The maps of noisy copies of a training picture. Their mean is its SmoothGrad map.

    The same seed gives the same noise to every method and every network.

    Args:
        method: Makes maps; a layer method may have several layers.
        train: The training picture.
        test: The test picture.
        samples: Noisy copies.
        noise_level: Deviation of the noise as a part of the picture's max − min.
        seed: Of the noise.

    Returns:
        ``[samples, C, H, W]`` for each layer; one such for a pixel method.
    """
    image, label = train
    maps = method.attribute(
        noisy_copies(image.unsqueeze(0), samples, noise_level, seed),
        target=torch.full((samples,), label),
        additional_forward_args=(test[0].unsqueeze(0), torch.tensor([test[1]])),
    )
    return [part.detach() for part in (maps if isinstance(maps, list) else [maps])]


def smooth_map(
    method: TrainingGradCos,
    train: Example,
    test: Example,
    samples: int,
    noise_level: float,
    seed: int = 0,
) -> Tensor:
    """The paper's pixel map ``[C, H, W]``: the mean of `copies_maps`."""
    side = (test[0].unsqueeze(0), torch.tensor([test[1]]))
    label = torch.tensor([train[1]])
    maps: Tensor = SmoothGrad(method).attribute(
        train[0].unsqueeze(0), label, side, samples, noise_level, seed
    )
    return maps[0]


def show_picture(axes: Axes, picture: Tensor, title: str) -> None:
    """A plain picture ``[H, W, 3]`` without axes."""
    axes.imshow(picture.numpy())
    axes.set_title(title, fontsize=8)
    axes.set_axis_off()


def show_map(axes: Axes, picture: Tensor, saliency: Tensor, title: str = "") -> None:
    """Saliency ``[H, W]`` in colour over the grey picture ``[H, W, 3]``.

    Colours end at what one pixel in a hundred passes: a single pixel does not dim the rest.
    """
    axes.imshow(picture.mean(dim=2).numpy(), cmap="gray", vmin=0, vmax=1)
    top = float(saliency.quantile(0.99))
    strength = (saliency / top).clamp(0, 1).sqrt() if top > 0 else saliency
    axes.imshow(saliency.numpy(), cmap="inferno", vmin=0, vmax=top or 1, alpha=strength.numpy())
    axes.set_title(title, fontsize=8)
    axes.set_axis_off()
