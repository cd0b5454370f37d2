from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.data import TensorDataset

from captum_tfa.curvature import fit_curvature
from tests.curvature.slow import MLP, block, by_name, dataset, matrix
from tests.oracle import EXACT, NETS, relative_error


def slow_hessian(model: nn.Module, data: TensorDataset) -> Tensor:
    """Second derivatives of the mean loss, as torch computes them of a function of one vector."""
    named = dict(model.named_parameters())
    *inputs, labels = data.tensors

    def loss(flat: Tensor) -> Tensor:
        given = {name: part[0] for name, part in by_name(flat[None], model).items()}
        return F.cross_entropy(torch.func.functional_call(model, given, tuple(inputs)), labels)

    start = torch.cat([each.detach().flatten() for each in named.values()])
    with sdpa_kernel(SDPBackend.MATH):  # the fused kernels have no second derivative
        return torch.autograd.functional.hessian(loss, start)


@pytest.mark.parametrize("name", ["linear", "max pooling", "group_norm", "attention", "gru"])
def test_matrix_equals_torch_s_own(name: str) -> None:
    model, data = NETS[name].model(), dataset(NETS[name], 4)
    curvature = fit_curvature(model, data, kind="hessian", damping=200.0, batch_size=3)
    assert relative_error(matrix(curvature, model), slow_hessian(model, data)) < 1e-7


def test_ridge_regression_in_closed_form() -> None:
    draw = torch.Generator().manual_seed(0)
    images = torch.randn(30, 4, generator=draw, dtype=torch.float64)
    values = torch.randn(30, 1, generator=draw, dtype=torch.float64)
    model, ridge = nn.Linear(4, 1, bias=False).double().eval(), 0.7
    normal = images.T @ images / 30 + ridge * torch.eye(4, dtype=torch.float64)
    with torch.no_grad():
        model.weight.copy_(torch.linalg.solve(normal, images.T @ values / 30).T)
    loss = nn.MSELoss(reduction="none")
    data = TensorDataset(images, values)
    for kind in ("hessian", "ggn"):
        curvature = fit_curvature(model, data, kind=kind, loss_fn=loss, damping=1.0)
        # (f − y)² has twice the Hessian of half of it, and so twice the damping belongs to it.
        relative = curvature.damping * 2 * ridge / curvature.absolute_damping
        curvature = curvature.with_damping(relative)
        image = torch.randn(1, 1, 4, generator=draw, dtype=torch.float64)
        right = torch.linalg.solve(2 * normal, image[0].T).T
        assert relative_error(curvature.solve({"weight": image})["weight"][0], right) < EXACT
        # Taking one example away moves the weights as its influence says, to first order in 1 / n.
        test = torch.randn(1, 4, generator=draw, dtype=torch.float64)
        error = images[0] @ model.weight[0] - values[0]
        gradient = (2 * error * images[0]).detach()
        moved = curvature.solve({"weight": gradient[None, None]})["weight"][0, 0] / 30
        rest = images[1:].T @ images[1:] / 30 + ridge * torch.eye(4, dtype=torch.float64)
        without = torch.linalg.solve(rest, images[1:].T @ values[1:] / 30)[:, 0]
        real = test[0] @ (without - model.weight[0].detach())
        leverage = images[0] @ torch.linalg.solve(normal, images[0]) / 30
        assert abs(float(test[0] @ moved / (real * (1 - leverage))) - 1) < 1e-10


def test_logistic_regression_in_closed_form() -> None:
    draw = torch.Generator().manual_seed(0)
    images = torch.randn(20, 3, generator=draw, dtype=torch.float64)
    labels = torch.randint(2, (20, 1), generator=draw).double()
    model = nn.Linear(3, 1).double().eval()
    loss = nn.BCEWithLogitsLoss(reduction="none")
    p = model(images).sigmoid().detach()
    with_one = torch.cat([images, torch.ones(20, 1, dtype=torch.float64)], 1)
    right = (with_one * p * (1 - p)).T @ with_one / 20
    for kind in ("hessian", "ggn"):
        curvature = fit_curvature(model, TensorDataset(images, labels), kind=kind, loss_fn=loss)
        assert relative_error(matrix(curvature, model), right) < EXACT


def test_a_hessian_that_is_not_positive_is_refused() -> None:
    model, data = MLP.model(), dataset(MLP, 10)
    least = float(torch.linalg.eigvalsh(slow_hessian(model, data))[0])
    assert least < 0
    with pytest.raises(ValueError, match="no minimum of its training loss: take kind='ggn'"):
        fit_curvature(model, data, kind="hessian", damping=1e-3)


def test_only_chosen_parameters_count() -> None:
    model, data = MLP.model(), dataset(MLP, 10)
    curvature = fit_curvature(model, data, kind="hessian", parameters=["2"])
    right = block(slow_hessian(model, data), model, "2.weight", "2.bias")
    vectors = {
        name: torch.randn(3, *shape).double()
        for name, shape in curvature.fingerprint.shapes.items()
    }
    flat = torch.cat([part.flatten(1) for part in vectors.values()], 1)
    damped = right + curvature.absolute_damping * torch.eye(len(right), dtype=torch.float64)
    solved = torch.cat([part.flatten(1) for part in curvature.solve(vectors).values()], 1)
    assert curvature.names == ("2.weight", "2.bias")
    assert relative_error(solved, torch.linalg.solve(damped, flat.T).T) < EXACT
