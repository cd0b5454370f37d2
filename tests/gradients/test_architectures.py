"""The architectures of torchvision as they are, at small sizes, against the slow oracle."""

from __future__ import annotations

import pytest
import torch
import torchvision.models as zoo
from torch import nn

from captum_tfa import GradCosScore
from tests.oracle import SlowScore, assert_exact, randomized

ARCHITECTURES = [
    "resnet18",
    "resnet50",
    pytest.param("vit_b_16", marks=pytest.mark.slow),  # 86 million parameters in float64
    "convnext_tiny",
    "swin_t",
    "efficientnet_b0",
    "mobilenet_v3_small",
    "densenet121",
    "regnet_y_400mf",
]
SIDE = 32


def _assert_exact(model: nn.Module) -> None:
    model = model.double()
    randomized(model)  # some last layers and scales start at zero
    model.eval()
    train = torch.randn(2, 3, SIDE, SIDE, dtype=torch.float64)
    test = torch.randn(1, 3, SIDE, SIDE, dtype=torch.float64)
    labels = torch.tensor([3, 0])
    assert_exact(GradCosScore(model), SlowScore(model), train, test, torch.tensor([1]), labels)


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_score_and_map_equal_double_backward_oracle(name: str) -> None:
    options = {"image_size": SIDE} if name.startswith("vit") else {}
    _assert_exact(zoo.get_model(name, weights=None, num_classes=5, **options))


def test_a_small_vision_transformer_is_exact() -> None:
    net = zoo.VisionTransformer(SIDE, 8, 2, 3, 24, 48, num_classes=5)
    _assert_exact(net)
