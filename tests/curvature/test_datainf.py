"""DataInf is the mean of exact inverses, layer by layer."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.utils.data import TensorDataset

from captum_tfa import InfluenceScore
from captum_tfa.curvature import Curvature, fisher, fit_curvature
from tests.curvature.slow import CNN, MLP, block, dataset, gradients, inverse
from tests.oracle import EXACT, NETS, relative_error


def right(model: nn.Module, data: TensorDataset, damping: float) -> Tensor:
    """``(1/n) Σ_i (λI + g_i g_iᵀ)⁻¹``, each inverted as it is, with nothing between layers."""
    layer_of: list[str] = []
    for name, parameter in model.named_parameters():
        layer_of += [name.rpartition(".")[0] or name] * parameter.numel()
    same = torch.tensor([[one == other for other in layer_of] for one in layer_of])
    unit = torch.eye(len(layer_of), dtype=torch.float64)
    found = [
        torch.linalg.inv(damping * unit + torch.outer(gradient, gradient) * same)
        for gradient in gradients(model, data)
    ]
    return torch.stack(found).mean(0)


@pytest.mark.parametrize("name", ["small cnn", "encoder", "batch_norm2d", "conv1d"])
def test_it_is_the_mean_of_inverses(name: str) -> None:
    model, data = NETS[name].model(), dataset(NETS[name], 4)
    curvature = fit_curvature(model, data, kind="datainf", labels="true", damping=0.5, batch_size=3)
    expected = right(model, data, curvature.absolute_damping)
    assert relative_error(inverse(curvature, model), expected) < 1e-7


@settings(max_examples=10, deadline=None)
@given(st.integers(1, 6), st.integers(1, 4), st.floats(0.01, 10))
def test_for_any_number_of_examples_and_damping(count: int, batch: int, damping: float) -> None:
    model, data = MLP.model(), dataset(MLP, count)
    curvature = fit_curvature(
        model, data, kind="datainf", labels="true", damping=damping, batch_size=batch
    )
    expected = right(model, data, curvature.absolute_damping)
    assert relative_error(inverse(curvature, model), expected) < 1e-7


def test_of_one_example_in_one_layer_it_is_the_fisher_matrix() -> None:
    data = dataset(MLP, 1)
    model = nn.Sequential(nn.Linear(6, 5)).double().eval()
    both = [
        inverse(fit_curvature(model, data, kind=kind, labels="true"), model)
        for kind in ("datainf", "fisher")
    ]
    assert relative_error(both[0], both[1]) < EXACT


def test_damping_is_relative_to_the_mean_square() -> None:
    model, data = CNN.model(), dataset(CNN, 5)
    curvature = fit_curvature(model, data, kind="datainf", labels="true", damping=0.3)
    squares = gradients(model, data).square().sum(1).mean()
    assert curvature.absolute_damping == pytest.approx(
        0.3 * float(squares) / curvature.fingerprint.count
    )


def test_layers_do_not_meet() -> None:
    model, data = MLP.model(), dataset(MLP, 4)
    curvature = fit_curvature(model, data, kind="datainf")
    assert curvature.blocks == (
        frozenset({"0.weight", "0.bias"}),
        frozenset({"2.weight", "2.bias"}),
    )
    solved = inverse(curvature, model)
    first = sum(parameter.numel() for parameter in model[0].parameters())
    assert not solved[:first, first:].any()
    assert block(solved, model, "0.weight", "0.bias").any()


def test_a_score_takes_it() -> None:
    model, data = MLP.model(), dataset(MLP, 4)
    curvature = fit_curvature(model, data, kind="datainf", labels="true")
    given = InfluenceScore(model, curvature, None)
    tests = dataset(MLP, 2, seed=5)
    found = given(*tests.tensors[:1], data.tensors[0][:1], data.tensors[1][:1], tests.tensors[1])
    expected = gradients(model, tests) @ right(model, data, curvature.absolute_damping)
    assert relative_error(found.detach(), expected @ gradients(model, data)[0]) < 1e-7


def test_more_gradients_than_memory_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    def fitted(count: int) -> Curvature:
        return fit_curvature(MLP.model(), dataset(MLP, count), kind="datainf")

    count = sum(parameter.numel() for parameter in MLP.model().parameters())
    monkeypatch.setattr(fisher, "MOST_BYTES", 5 * count * 8)
    with pytest.raises(ValueError, match=r"gradients of 6 examples.*Pass max_examples=5"):
        fitted(6)
    fitted(5)


def test_without_damping_it_is_refused() -> None:
    with pytest.raises(ValueError, match=r"not positive definite.*Raise damping"):
        fit_curvature(MLP.model(), dataset(MLP, 4), kind="datainf", damping=0)
