"""What stands behind the last block of a pretrained network, trained on what that block gives.

The trunk in front of it stays as it is, so its features are computed once, and a training takes
seconds.
"""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor, nn
from torch.utils.data import TensorDataset

from captum_tfa.demo import Pictures, SmallCNN
from common.networks import pretrained
from common.remembering import remembered_tensors


def last_stage(network: str, classes: int) -> nn.Sequential:
    """Convolution, norm, mean over places and a new linear layer: from ``[B, C, H, W]`` to logits.

    Args:
        network: "efficientnet_lite0", pretrained, or "small_cnn", not trained at all.
        classes: Number of logits. The linear layer's weights are random: seed PyTorch before.
    """
    return _split(network, classes)[1].eval()


@torch.no_grad()
def trunk_features(network: str, pictures: Pictures, name: str, cache: Path) -> TensorDataset:
    """What the last stage is given, ``[N, C, H, W]``, and the labels.

    Args:
        network: As for `last_stage`.
        pictures: Of any size that the network takes.
        name: Of these pictures, for the file in which the features are kept.
        cache: The folder of that file.
    """

    def measured() -> dict[str, Tensor]:
        with torch.random.fork_rng():
            torch.manual_seed(0)
            trunk = _split(network, len(pictures.classes))[0].eval()
        images = (pictures[place][0] for place in range(len(pictures)))
        return {"features": torch.cat([trunk(image[None]) for image in images])}

    told = {"network": network, "pictures": name, "count": len(pictures)}
    found = remembered_tensors(cache / f"features-{network}-{name}.safetensors", told, measured)
    return TensorDataset(found["features"], pictures.labels)


class _Trunk(nn.Module):
    """EfficientNet-Lite up to its last block."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, x: Tensor) -> Tensor:
        net: object = self.network
        x = net._swish(net._bn0(net._conv_stem(x)))  # type: ignore[attr-defined]
        for block in net._blocks:  # type: ignore[attr-defined]
            x = block(x)
        return x


def _split(network: str, classes: int) -> tuple[nn.Module, nn.Sequential]:
    model = pretrained(network, classes)
    if isinstance(model, SmallCNN):
        convolution, norm, act = model[6]
        return model[:6], nn.Sequential(convolution, norm, act, *model[7:])
    old = model._conv_head
    convolution = nn.Conv2d(old.in_channels, old.out_channels, 1, bias=False)
    convolution.load_state_dict({"weight": old.weight})
    pool = nn.AdaptiveAvgPool2d(1)
    stage = nn.Sequential(convolution, model._bn1, nn.ReLU6(), pool, nn.Flatten(), model._fc)
    return _Trunk(model), stage
