from __future__ import annotations

import pytest
import torch
from torch import nn

from captum_tfa.curvature import fit_curvature
from tests.curvature.slow import CNN, dataset, gradients, matrix
from tests.oracle import EXACT, NETS, relative_error


@pytest.mark.parametrize(
    "name",
    [
        "small cnn",
        "conv3d",
        "conv_transpose2d",
        "layer_norm",
        "group_norm",
        "embedding of positions",
        "cross-attention",
        "encoder and decoder",
        "lstm",
        "prelu",
        "bilinear",
    ],
)
def test_diagonal_of_the_empirical_fisher_of_every_parameter(name: str) -> None:
    model, data = NETS[name].model(), dataset(NETS[name], 5)
    curvature = fit_curvature(model, data, kind="diagonal", labels="true", batch_size=3)
    right = gradients(model, data).square().mean(0)
    assert relative_error(matrix(curvature, model), right.diag()) < EXACT


def test_a_layer_that_is_used_twice_has_one_gradient() -> None:
    shared = nn.Linear(4, 4).double()
    model = nn.Sequential(shared, nn.Tanh(), shared, nn.Tanh(), nn.Linear(4, 5).double()).eval()
    data = torch.utils.data.TensorDataset(
        torch.randn(6, 4, dtype=torch.float64), torch.arange(6) % 5
    )
    curvature = fit_curvature(model, data, kind="diagonal", labels="true")
    right = gradients(model, data).square().mean(0)
    assert relative_error(matrix(curvature, model), right.diag()) < EXACT


def test_mean_eigenvalue_is_that_of_the_whole_model() -> None:
    model, data = CNN.model(), dataset(CNN, 6)
    curvature = fit_curvature(model, data, kind="diagonal", labels="true", damping=0.25)
    mean = gradients(model, data).square().mean(0).mean()
    assert abs(curvature.absolute_damping / (0.25 * float(mean)) - 1) < 1e-12
