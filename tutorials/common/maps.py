"""Smooth maps of one training picture for one test picture, on pixels or on layers."""

from __future__ import annotations

import torch
from captum.attr import Occlusion
from matplotlib.axes import Axes
from torch import Tensor

from captum_tfa import GradCosScore, LayerTrainingGradCos, TrainingGradCos

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
    noise = torch.randn(samples, *image.shape, generator=torch.Generator().manual_seed(seed))
    copies = image + noise_level * (image.max() - image.min()) * noise
    maps = method.attribute(
        copies,
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
    return copies_maps(method, train, test, samples, noise_level, seed)[0].mean(0)


def occlusion_map(
    score: GradCosScore,
    image: Tensor,
    label: Tensor,
    side: tuple[Tensor, Tensor],
    colour: Tensor,
    window: int,
    stride: int,
) -> Tensor:
    """What the score loses when a window of the training picture takes one colour: Captum's.

    Args:
        score: Grad-cos of a model.
        image: The training picture, ``[1, C, H, W]``.
        label: Its class, ``[1]``.
        side: The test picture ``[1, C, H, W]`` and its label ``[1]``.
        colour: What covers, ``[C]``.
        window: Side of the window in pixels.
        stride: How far it moves on.

    Returns:
        ``[H, W]``, the mean over the windows that cover a pixel.
    """
    channels = image.shape[1]
    lost: Tensor = Occlusion(score).attribute(
        image,
        sliding_window_shapes=(channels, window, window),
        strides=(channels, stride, stride),
        baselines=colour.view(1, -1, 1, 1).expand_as(image),
        additional_forward_args=(*side, label),
        perturbations_per_eval=16,
    )
    return lost[0, 0].detach()


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
