"""Six kinds of network, each small enough to be trained on small pictures within minutes.

Built from torchvision's own classes, with fewer layers and channels than the named models there.
"""

from __future__ import annotations

from functools import partial

from torch import nn
from torchvision.models.convnext import CNBlockConfig, ConvNeXt
from torchvision.models.resnet import BasicBlock
from torchvision.models.swin_transformer import SwinTransformer
from torchvision.models.vision_transformer import VisionTransformer

PATCH = {"vit_4": 4, "vit_8": 8, "convnext": 4, "swin": 4}
"""Side of the squares that these networks cut a picture into before anything else, in pixels."""


def small_network(name: str, num_classes: int, side: int = 32) -> nn.Module:
    """An untrained network for pictures ``[3, side, side]``; seed PyTorch before.

    Args:
        name: "resnet_8" or "resnet_26" (residual; the number counts its layers), "vit_4" or
            "vit_8" (vision transformer; the number is its patch size), "convnext" or "swin".
        num_classes: Outputs.
        side: Of the pictures in pixels, a multiple of 16.
    """
    makers = {
        "resnet_8": partial(_residual, 1),
        "resnet_26": partial(_residual, 4),
        "vit_4": partial(_vit, 4, side),
        "vit_8": partial(_vit, 8, side),
        "convnext": _convnext,
        "swin": _swin,
    }
    return makers[name](num_classes).eval()


def _residual(blocks: int, num_classes: int) -> nn.Module:
    """Three stages of ``blocks`` blocks: the ResNet for small pictures, ``6 blocks + 2`` layers."""
    layers: list[nn.Module] = [nn.Conv2d(3, 16, 3, padding=1, bias=False), nn.BatchNorm2d(16)]
    layers.append(nn.ReLU())
    before = 16
    for channels in (16, 32, 64):
        for _ in range(blocks):
            shortcut, stride = None, 1
            if channels != before:
                stride = 2
                shortcut = nn.Sequential(
                    nn.Conv2d(before, channels, 1, stride, bias=False), nn.BatchNorm2d(channels)
                )
            layers.append(BasicBlock(before, channels, stride, shortcut))
            before = channels
    layers += [nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(before, num_classes)]
    return nn.Sequential(*layers)


def _vit(patch: int, side: int, num_classes: int) -> nn.Module:
    return VisionTransformer(
        image_size=side,
        patch_size=patch,
        num_layers=4,
        num_heads=4,
        hidden_dim=64,
        mlp_dim=128,
        num_classes=num_classes,
    )


def _convnext(num_classes: int) -> nn.Module:
    stages = [CNBlockConfig(32, 64, 2), CNBlockConfig(64, 128, 2), CNBlockConfig(128, None, 2)]
    # Layers start nearly switched off in large ConvNeXts; a small one should learn at once.
    return ConvNeXt(stages, layer_scale=1.0, num_classes=num_classes)


def _swin(num_classes: int) -> nn.Module:
    return SwinTransformer(
        patch_size=[4, 4],
        embed_dim=48,
        depths=[2, 2],
        num_heads=[3, 6],
        window_size=[4, 4],
        stochastic_depth_prob=0.0,
        num_classes=num_classes,
    )
