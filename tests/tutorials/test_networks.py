"""Networks with a new head, and weights that are trained once."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
import torchvision
from torch import nn

from captum_tfa.demo import Pictures, SmallCNN
from common.networks import accuracy, kept, pretrained, with_new_head


@pytest.mark.parametrize(
    "name", ["resnet18", "mobilenet_v2", "convnext_tiny", "vit_b_32", "swin_t"]
)
def test_only_the_last_layer_is_new(name: str) -> None:
    with torch.device("meta"):  # shapes only: these networks are large
        old = torchvision.models.get_model(name)
        before = {key: id(value) for key, value in old.state_dict(keep_vars=True).items()}
        new = with_new_head(old, 3)
        after = new.state_dict(keep_vars=True)
    changed = [key for key, value in after.items() if id(value) != before[key]]
    assert [key.rpartition(".")[2] for key in changed] == ["weight", "bias"]
    assert after[changed[0]].shape[0] == after[changed[1]].shape[0] == 3


def test_small_cnn_needs_no_weights() -> None:
    model = pretrained("small_cnn", 3)
    assert not model.training
    assert model(torch.zeros(2, 3, 16, 16)).shape == (2, 3)


def test_kept_weights_come_back_without_training(tmp_path: Path) -> None:
    def made(model: nn.Module) -> nn.Module:
        with torch.no_grad():
            for tensor in model.state_dict().values():
                tensor.add_(1)
        return model.train()

    def never(model: nn.Module) -> nn.Module:
        raise AssertionError("trained a second time")

    path = tmp_path / "folder" / "weights.safetensors"
    first = kept(path, SmallCNN(2), made)
    again = kept(path, SmallCNN(2), never)
    assert not first.training
    assert not again.training
    for name, tensor in first.state_dict().items():
        assert torch.equal(tensor, again.state_dict()[name])
    with pytest.raises(RuntimeError, match="fit another network; give the setting"):
        kept(path, SmallCNN(3), never)


def test_accuracy_counts_right_answers() -> None:
    class FirstPixel(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.unused = nn.Parameter(torch.zeros(1))

        def forward(self, images: torch.Tensor) -> torch.Tensor:
            return torch.stack([1 - images[:, 0, 0, 0], images[:, 0, 0, 0]], dim=1)

    images = torch.tensor([0.0, 1.0, 1.0, 0.0]).view(4, 1, 1, 1).expand(4, 3, 2, 2)
    pictures = Pictures(images, torch.tensor([0, 1, 0, 0]), ["dark", "light"])
    assert accuracy(FirstPixel(), pictures) == 0.75
