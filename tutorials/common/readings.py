"""How one image is read: smooth gradients, Grad-CAM, covered squares; of a model or of a score."""

from __future__ import annotations

from typing import Any

import torch
from captum.attr import GradientAttribution, LayerGradCam, NoiseTunnel, Occlusion
from torch import Tensor, nn


def smooth(
    method: GradientAttribution,
    image: Tensor,
    samples: int,
    noise_level: float,
    seed: int = 0,
    **arguments: Any,
) -> Tensor:
    """SmoothGrad maps of one image, with the same noise for every method.

    Args:
        method: Any gradient method of Captum's interface.
        image: ``[C, H, W]``.
        samples: Noisy copies.
        noise_level: Deviation of the noise as a part of the image's max − min.
        seed: Of the noise.
        **arguments: For the method's ``attribute``.

    Returns:
        ``[M, C, H, W]``, where M is 1, or the number of test images in the arguments.
    """
    torch.manual_seed(seed)
    spread = noise_level * float(image.max() - image.min())
    maps = NoiseTunnel(method).attribute(
        image.unsqueeze(0), nt_samples=samples, stdevs=spread, **arguments
    )
    return maps.detach()


def grad_cam(function: nn.Module, layer: nn.Module, images: Tensor, **arguments: Any) -> Tensor:
    """Grad-CAM of a model or a score, ``[B, 1, H, W]``; the pixels of a place are alike."""
    coarse = LayerGradCam(function, layer).attribute(images, relu_attributions=True, **arguments)
    return nn.functional.interpolate(coarse.detach(), images.shape[2:], mode="nearest")


def covered(
    function: nn.Module, images: Tensor, side: int, fill: Tensor, **arguments: Any
) -> Tensor:
    """How much lower a model or a score is without a square of the image: ``[B, C, H, W]``.

    Args:
        function: Gives one number an image.
        images: ``[B, C, H, W]``.
        side: Of the squares, which tile the image, in pixels.
        fill: What they become, ``[C, 1, 1]``.
        **arguments: For Captum's ``Occlusion``.
    """
    return Occlusion(function).attribute(
        images,
        sliding_window_shapes=(images.shape[1], side, side),
        strides=(images.shape[1], side, side),
        baselines=fill.expand_as(images[:1]),
        perturbations_per_eval=8,
        **arguments,
    )
