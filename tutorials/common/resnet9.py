"""A small ResNet-9: the network that benchmarks of data attribution train on CIFAR-2."""

from __future__ import annotations

from torch import Tensor, nn


class _Residual(nn.Module):
    def __init__(self, channels: int) -> None:
        super().__init__()
        self.body = nn.Sequential(
            *_convolution(channels, channels), *_convolution(channels, channels)
        )

    def forward(self, x: Tensor) -> Tensor:
        return x + self.body(x)


def resnet9(classes: int, width: int = 16) -> nn.Sequential:
    """Eight convolutions with BatchNorm and ReLU, two skip connections, one linear layer.

    Args:
        classes: Number of logits.
        width: Channels of the first layer; the usual network has 64.

    Returns:
        From ``[B, 3, H, W]``, H and W at least 8, to logits ``[B, classes]``; its last module is
        the linear layer.
    """
    return nn.Sequential(
        *_convolution(3, width),
        nn.AvgPool2d(2),
        *_convolution(width, 2 * width),
        _Residual(2 * width),
        nn.AvgPool2d(2),
        *_convolution(2 * width, 4 * width),
        nn.AvgPool2d(2),
        *_convolution(4 * width, 4 * width),
        _Residual(4 * width),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(4 * width, classes),
    )


def _convolution(inputs: int, outputs: int) -> tuple[nn.Module, ...]:
    convolution = nn.Conv2d(inputs, outputs, 3, padding=1, bias=False)
    return convolution, nn.BatchNorm2d(outputs), nn.ReLU()
