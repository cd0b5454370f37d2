"""Saliencies that know nothing of the score: what a map of influence has to beat.

A map that shows where a training image matters *for a test image* is worth its cost only if it
says more than a random choice, than "look at the middle", than any one contiguous piece, and
than ordinary feature attribution of the training image's own label, which never sees the test
image. All give ``[B, H, W]``, ready for `top_mask`.
"""

from __future__ import annotations

import torch
from captum.attr import LayerAttribution, LayerGradCam, Saliency
from torch import Tensor, nn

from captum_tfa.attr.baselines import Baselines, like_inputs
from captum_tfa.attr.covering import Window, lost_by_windows
from captum_tfa.attr.smooth_grad import SmoothGrad
from captum_tfa.metrics.localisation import saliency
from captum_tfa.scores.validate import validate

_AT_ONCE = 64  # images in a pass


def random_saliency(images: Tensor, seed: int = 0) -> Tensor:
    """Every pixel a number of its own, uniform in [0, 1).

    Args:
        images: ``[B, C, H, W]``; only their shape counts.
        seed: Seed of the numbers, which are the same on every device.

    Returns:
        ``[B, H, W]``, float32.

    Raises:
        ValueError: Images of another shape.
    """
    batch, _, height, width = _shape(images)
    generator = torch.Generator().manual_seed(seed)
    return torch.rand(batch, height, width, generator=generator).to(images.device)


def contiguous_random(images: Tensor, seed: int = 0) -> Tensor:
    """A blob about a random pixel: ``1 / (1 + distance in pixels)``.

    Its top is one contiguous piece, as an object is. Scattered pixels look like no image, so a
    contiguous mask has an advantage that says nothing about where it lies: this one has it too.

    Args:
        images: ``[B, C, H, W]``; only their shape counts.
        seed: Seed of the pixels in the middle of the blobs, uniform over the image.

    Returns:
        ``[B, H, W]``, float32, in (0, 1].

    Raises:
        ValueError: Images of another shape.
    """
    batch, _, height, width = _shape(images)
    generator = torch.Generator().manual_seed(seed)
    places = torch.rand(batch, 2, generator=generator)
    middle = (places * torch.tensor([height, width])).floor().to(images.device)
    return _about(middle, height, width)


def centre_weighted(images: Tensor) -> Tensor:
    """The middle of the image first: ``1 / (1 + distance in pixels)``. Photographs are framed so.

    Args:
        images: ``[B, C, H, W]``; only their shape counts.

    Returns:
        ``[B, H, W]``, float32, in (0, 1].

    Raises:
        ValueError: Images of another shape.
    """
    batch, _, height, width = _shape(images)
    middle = torch.tensor([(height - 1) / 2, (width - 1) / 2], device=images.device)
    return _about(middle.expand(batch, 2), height, width)


def own_label_gradient(
    model: nn.Module,
    images: Tensor,
    labels: Tensor,
    nt_samples: int = 50,
    noise_level: float = 0.1,
    seed: int = 0,
) -> Tensor:
    """Ordinary SmoothGrad of each image's own logit: no test image, no influence.

    ``sum_channels |(1/n) Σ_i ∂f_label/∂x (x + ε_i)|``, ``ε_i ~ N(0, σ²)``, with ``σ`` the noise
    level times the image's max − min [smilkov2017smoothgrad].

    Args:
        model: Gives logits ``[B, C]``; in evaluation mode. It is not changed.
        images: ``[B, C, H, W]``.
        labels: Their classes, ``[B]``.
        nt_samples: Noisy copies of an image, at least 1. Default 50.
        noise_level: Deviation of the noise as a part of the image's max − min, at least 0;
            0 gives the plain gradient. Default 0.1.
        seed: Seed of the noise. Every image gets the same noise, so its saliency does not
            depend on the others.

    Returns:
        ``[B, H, W]``.

    Raises:
        ValueError: Shapes that do not fit, numbers out of range, or a model not in evaluation
            mode.
    """
    _checked(model, images, labels)
    means: Tensor = SmoothGrad(Saliency(model)).attribute(
        images, labels, None, nt_samples, noise_level, seed, abs=False
    )
    return saliency(means)


def own_label_grad_cam(
    model: nn.Module, layer: nn.Module, images: Tensor, labels: Tensor
) -> Tensor:
    """Ordinary Grad-CAM of each image's own logit: no test image, no influence.

    Captum's ``LayerGradCam`` with ReLU, brought bilinearly to the size of the image
    [selvaraju2017gradcam].

    Args:
        model: Gives logits ``[B, C]``; in evaluation mode. It is not changed.
        layer: A module of the model whose output is ``[B, channels, h, w]``; usually the last
            convolution.
        images: ``[B, C, H, W]``.
        labels: Their classes, ``[B]``.

    Returns:
        ``[B, H, W]``.

    Raises:
        ValueError: Shapes that do not fit, or a model not in evaluation mode.
    """
    shape = _checked(model, images, labels)
    method = LayerGradCam(model, layer)
    maps = torch.cat(
        [
            method.attribute(part, target=classes, relu_attributions=True).detach()
            for part, classes in zip(
                images.detach().split(_AT_ONCE), labels.split(_AT_ONCE), strict=True
            )
        ]
    )
    grown: Tensor = LayerAttribution.interpolate(maps, (shape[2], shape[3]), "bilinear")
    return grown[:, 0]


def own_label_occlusion(
    model: nn.Module,
    images: Tensor,
    labels: Tensor,
    baselines: Baselines = None,
    window: Window = None,
    strides: Window = None,
) -> Tensor:
    """Ordinary occlusion of each image's own logit: no test image, no influence.

    What the logit loses when a window becomes the baseline, the mean over the windows that cover
    a pixel [zeiler2014visualizing].

    Args:
        model: Gives logits ``[B, C]``; in evaluation mode. It is not changed.
        images: ``[B, C, H, W]``.
        labels: Their classes, ``[B]``.
        baselines: What covers, as for `TrainingOcclusion`. None is 0.
        window: Shape of the window ``(C, h, w)``; None is a quarter of the shorter side.
        strides: How far it moves on; None is half of the window.

    Returns:
        ``[B, H, W]``; below 0 where the logit rises. Pixels under no window have 0.

    Raises:
        TypeError: Baselines of the wrong type.
        ValueError: Shapes that do not fit, or a model not in evaluation mode.
    """
    _checked(model, images, labels)
    image = (images.detach(),)
    starts = like_inputs(baselines, image)
    (lost,) = lost_by_windows(model, image, starts, window, strides, target=labels)
    return lost[:, 0].detach()


def _about(middle: Tensor, height: int, width: int) -> Tensor:
    """``1 / (1 + distance)`` from points ``[B, 2]`` (row, column): ``[B, H, W]``."""
    rows = torch.arange(height, device=middle.device) - middle[:, :1]  # [B, H]
    columns = torch.arange(width, device=middle.device) - middle[:, 1:]
    return 1 / (1 + torch.hypot(rows.unsqueeze(2), columns.unsqueeze(1)))


def _shape(images: Tensor) -> tuple[int, int, int, int]:
    if images.dim() != 4:
        raise ValueError(f"images have the shape {list(images.shape)}; give [B, C, H, W]")
    batch, channels, height, width = images.shape
    return batch, channels, height, width


def _checked(model: nn.Module, images: Tensor, labels: Tensor) -> tuple[int, int, int, int]:
    validate(model)
    shape = _shape(images)
    if list(labels.shape) != [shape[0]]:
        raise ValueError(
            f"labels have the shape {list(labels.shape)} for {shape[0]} images; give one class "
            "number an image, [B]"
        )
    return shape
