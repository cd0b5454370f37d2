from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn
from torch.utils.data import TensorDataset

from captum_tfa.curvature import dense, fit_curvature
from tests.curvature.slow import CNN, MLP, dataset, matrix
from tests.oracle import EXACT, NETS, Case, head, relative_error


def slow_ggn(model: nn.Module, data: TensorDataset, loss_fn: nn.Module) -> Tensor:
    """``E[Jᵀ (∂²L/∂f²) J]`` by Jacobians of one example at a time."""
    named = dict(model.named_parameters())
    total = 0.0
    for image, label in data:

        def outputs(*values: Tensor, image: Tensor = image) -> Tensor:
            given = dict(zip(named, values, strict=True))
            return torch.func.functional_call(model, given, (image[None],))[0].flatten()

        shape = model(image[None]).shape

        def loss(output: Tensor, label: Tensor = label, shape: torch.Size = shape) -> Tensor:
            return loss_fn(output.view(shape), label[None]).sum()

        parts = torch.autograd.functional.jacobian(outputs, tuple(named.values()))
        jacobian = torch.cat([part.flatten(1) for part in parts], 1)
        inner = torch.autograd.functional.hessian(loss, outputs(*named.values()).detach())
        total = total + jacobian.T @ inner @ jacobian
    return total / len(data)


@pytest.mark.parametrize("name", ["linear", "batch_norm1d", "prelu", "layer_norm", "encoder"])
def test_matrix_equals_the_slow_loop(name: str) -> None:
    model, data = NETS[name].model(), dataset(NETS[name], 5)
    curvature = fit_curvature(model, data, kind="ggn", batch_size=2)
    right = slow_ggn(model, data, nn.CrossEntropyLoss(reduction="none"))
    assert relative_error(matrix(curvature, model), right) < 1e-7


@pytest.mark.parametrize(
    "loss_fn",
    [
        nn.CrossEntropyLoss(reduction="none", label_smoothing=0.2),
        nn.CrossEntropyLoss(reduction="none", weight=torch.arange(1.0, 6.0).double()),
        nn.BCEWithLogitsLoss(reduction="none"),
        nn.MSELoss(reduction="none"),
        nn.HuberLoss(reduction="none"),
        nn.L1Loss(reduction="none"),
    ],
    ids=lambda loss_fn: type(loss_fn).__name__,
)
def test_every_loss_has_its_own(loss_fn: nn.Module) -> None:
    model, data = MLP.model(), dataset(MLP, 6)
    if not isinstance(loss_fn, nn.CrossEntropyLoss):
        data = TensorDataset(data.tensors[0], torch.rand(6, 5, dtype=torch.float64))
    right = slow_ggn(model, data, loss_fn)
    if not right.any():
        with pytest.raises(ValueError, match=r"not positive definite.*no relative damping helps"):
            fit_curvature(model, data, kind="ggn", loss_fn=loss_fn)
        return
    curvature = fit_curvature(model, data, kind="ggn", loss_fn=loss_fn)
    assert relative_error(matrix(curvature, model), right) < EXACT


def test_outputs_with_places_count_one_by_one() -> None:
    case = Case(
        lambda: nn.Sequential(nn.Conv2d(2, 3, 2), nn.Tanh(), nn.Conv2d(3, 4, 1)), ((2, 3, 3),)
    )
    model = case.model()
    data = TensorDataset(*case.inputs(4), torch.randint(4, (4, 2, 2)))
    curvature = fit_curvature(model, data, kind="ggn")
    right = slow_ggn(model, data, nn.CrossEntropyLoss(reduction="none"))
    assert relative_error(matrix(curvature, model), right) < EXACT


def test_fisher_with_drawn_labels_tends_to_it() -> None:
    """Nothing else says that labels are drawn from the model's own distribution."""
    model, data = MLP.model(), dataset(MLP, 8)
    right = matrix(fit_curvature(model, data, kind="ggn"), model)
    many = TensorDataset(*(part.repeat(800, *[1] * (part.ndim - 1)) for part in data.tensors))
    drawn = matrix(fit_curvature(model, many, kind="diagonal", batch_size=800), model)
    true = matrix(fit_curvature(model, data, kind="diagonal", labels="true"), model)
    assert relative_error(drawn.diag(), right.diag()) < 0.05
    assert relative_error(true.diag(), right.diag()) > 0.2


def test_large_models_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dense, "MOST_PARAMETERS", 50)
    model = CNN.model()
    with pytest.raises(ValueError, match="dense matrix of 359 parameters and takes up to 50"):
        fit_curvature(model, dataset(CNN, 3), kind="ggn")
    head(2)
