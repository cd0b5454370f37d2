"""Grad-CAM of one image: of a model, or of a score."""

from __future__ import annotations

from typing import Any

from captum.attr import LayerGradCam
from torch import Tensor, nn


def grad_cam(function: nn.Module, layer: nn.Module, images: Tensor, **arguments: Any) -> Tensor:
    """Grad-CAM of a model or a score, ``[B, 1, H, W]``; the pixels of a place are alike."""
    coarse = LayerGradCam(function, layer).attribute(images, relu_attributions=True, **arguments)
    return nn.functional.interpolate(coarse.detach(), images.shape[2:], mode="nearest")
