"""Every parameter counts, whatever its layer and however it is used; peers take two layer types."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils.data import TensorDataset

from captum_tfa.curvature import fit_curvature
from captum_tfa.curvature.kronecker import KroneckerCurvature
from tests.curvature.slow import by_name, flat, gradients
from tests.oracle import CLASSES, EXACT, relative_error


class SmallViT(nn.Module):
    """Patches, a class token, embedded positions, attention, norms and a head."""

    def __init__(self) -> None:
        super().__init__()
        self.patches = nn.Conv2d(3, 8, 4, stride=4)
        self.token = nn.Parameter(0.1 * torch.randn(1, 1, 8))
        self.positions = nn.Parameter(0.1 * torch.randn(1, 5, 8))
        layer = nn.TransformerEncoderLayer(
            8, 2, 12, dropout=0.0, activation="gelu", batch_first=True, norm_first=True
        )
        self.encoder = nn.TransformerEncoder(layer, 2, nn.LayerNorm(8), enable_nested_tensor=False)
        self.head = nn.Linear(8, CLASSES)

    def forward(self, images: Tensor) -> Tensor:
        found = self.patches(images).flatten(2).mT
        tokens = torch.cat([self.token.expand(len(found), -1, -1), found], 1)
        answered: Tensor = self.head(self.encoder(tokens + self.positions)[:, 0])
        return answered


class ChannelsFirst(nn.LayerNorm):
    """A norm over channels, as ConvNeXt has it."""

    def forward(self, input: Tensor) -> Tensor:
        return super().forward(input.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)


class Block(nn.Module):
    """A depthwise convolution, two linear layers, and a scale of each channel."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.depthwise = nn.Conv2d(width, width, 3, padding=1, groups=width)
        self.norm, self.wide = nn.LayerNorm(width), nn.Linear(width, 2 * width)
        self.narrow = nn.Linear(2 * width, width)
        self.scale = nn.Parameter(0.5 + 0.1 * torch.randn(width, 1, 1))

    def forward(self, images: Tensor) -> Tensor:
        last = self.norm(self.depthwise(images).permute(0, 2, 3, 1))
        found = self.narrow(nn.functional.gelu(self.wide(last))).permute(0, 3, 1, 2)
        return images + self.scale * found


def small_convnext() -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(3, 4, 2, stride=2),
        ChannelsFirst(4),
        Block(4),
        Block(4),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.LayerNorm(4),
        nn.Linear(4, CLASSES),
    )


class Tied(nn.Module):
    """One weight in two layers, each with a bias of its own, and one layer used twice."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(192, 6), nn.Linear(6, 6)
        self.third, self.head = nn.Linear(6, 6), nn.Linear(6, CLASSES)
        self.third.weight = self.second.weight

    def forward(self, images: Tensor) -> Tensor:
        found = torch.tanh(self.first(images.flatten(1)))
        found = torch.tanh(self.third(torch.tanh(self.second(found))))
        answered: Tensor = self.head(torch.tanh(self.second(found)))
        return answered


def partly_frozen() -> nn.Module:
    model = small_convnext()
    for name in ("0.weight", "2.norm.bias", "2.wide.bias", "7.weight"):
        model.get_parameter(name).requires_grad_(False)
    return model


MODELS: dict[str, Callable[[], nn.Module]] = {
    "vit": SmallViT,
    "convnext": small_convnext,
    "tied": Tied,
    "partly frozen": partly_frozen,
}


def built(name: str) -> nn.Module:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return MODELS[name]().double().eval()


def images(count: int) -> TensorDataset:
    draw = torch.Generator().manual_seed(1)
    found = torch.randn(count, 3, 8, 8, generator=draw, dtype=torch.float64)
    return TensorDataset(found, torch.arange(count) % CLASSES)


def trainable(model: nn.Module) -> list[str]:
    return [name for name, each in model.named_parameters() if each.requires_grad]


@pytest.mark.parametrize("kind", ["diagonal", "kfac", "ekfac", "fisher"])
@pytest.mark.parametrize("name", list(MODELS))
def test_every_trainable_parameter_has_its_part_of_the_fisher_matrix(name: str, kind: Any) -> None:
    model, data = built(name), images(6)
    curvature = fit_curvature(model, data, kind=kind, labels="true", batch_size=4, damping=0.5)
    assert list(curvature.names) == trainable(model)
    right = gradients(model, data)
    squares = right.square().mean(0)
    assert abs(curvature.absolute_damping / (0.5 * float(squares.mean())) - 1) < 1e-9
    solved = curvature.solve(by_name(torch.randn(2, right.shape[1]).double(), model))
    assert list(solved) == trainable(model)
    assert all(bool(each.isfinite().all() and each.any()) for each in solved.values())
    if isinstance(curvature, KroneckerCurvature):
        inside = {each.weight for each in curvature.layers}
        totals = by_name(squares[None], model)
        for layer in curvature.layers:
            total = sum(float(totals[part].sum()) for part in (layer.weight, layer.bias) if part)
            found = float(curvature.stored()[f"{layer.weight}:eigenvalues"].sum())
            assert abs(found / total - 1) < 1e-9, layer
        matrices = {
            key
            for key, module in model.named_parameters()
            if module.requires_grad and module.ndim > 1 and "scale" not in key
        }
        assert matrices - inside <= {"token", "positions"}, matrices - inside


@pytest.mark.parametrize("name", ["tied", "partly frozen"])
def test_the_fisher_matrix_of_unusual_parameters_is_exact(name: str) -> None:
    model, data = built(name), images(5)
    curvature = fit_curvature(model, data, kind="fisher", labels="true", damping=0.5)
    rows = gradients(model, data)
    vectors = torch.randn(3, rows.shape[1], dtype=torch.float64)
    dense = rows.T @ rows / len(rows)
    dense += curvature.absolute_damping * torch.eye(len(dense), dtype=torch.float64)
    right = torch.linalg.solve(dense, vectors.T).T
    assert relative_error(flat(curvature.solve(by_name(vectors, model))), right) < EXACT
