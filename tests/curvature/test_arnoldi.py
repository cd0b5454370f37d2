"""Arnoldi's method finds the top of the Hessian's spectrum, and captum's influences with it."""

from __future__ import annotations

import warnings
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel

from captum_tfa.curvature import Curvature, arnoldi, fit_curvature
from tests.curvature.slow import CNN, MLP, by_name, dataset, flat, gradients, inverse, matrix
from tests.oracle import EXACT, NETS, relative_error


def hessian(model: nn.Module, data: object) -> Tensor:
    """The Hessian of the mean cross-entropy, entry by entry of the gradient."""
    parameters = list(model.parameters())
    inputs, labels = data.tensors  # type: ignore[attr-defined]
    with sdpa_kernel(SDPBackend.MATH):
        loss = nn.functional.cross_entropy(model(inputs), labels)
    first = torch.autograd.grad(loss, parameters, create_graph=True)
    rows = []
    for entry in torch.cat([part.flatten() for part in first]):
        second = torch.autograd.grad(
            entry, parameters, retain_graph=True, allow_unused=True, materialize_grads=True
        )
        rows.append(torch.cat([part.flatten() for part in second]))
    return torch.stack(rows)


def positive_part(dense: Tensor) -> Tensor:
    values, vectors = torch.linalg.eigh(dense)
    return vectors * values.clamp(min=0) @ vectors.T


@pytest.mark.parametrize("name", ["linear", "group_norm", "attention"])
def test_when_the_space_is_whole_it_is_the_positive_part_of_the_hessian(name: str) -> None:
    model, data = NETS[name].model(), dataset(NETS[name], 6)
    curvature = fit_curvature(
        model, data, kind="arnoldi", damping=100.0, tolerance=1e-10, iterations=2000, batch_size=4
    )
    right = positive_part(hessian(model, data))
    assert relative_error(matrix(curvature, model), right) < 1e-6
    values = curvature.stored()["values"]
    assert bool((values > 0).all())
    assert values.tolist() == sorted(values.tolist(), reverse=True)
    assert curvature.absolute_damping == pytest.approx(
        100 * float(right.trace()) / curvature.fingerprint.count
    )


def test_after_a_few_steps_the_greatest_eigenvalues_are_there() -> None:
    model, data = CNN.model(), dataset(CNN, 12)
    curvature = fit_curvature(model, data, kind="arnoldi", damping=10.0, iterations=40)
    values = curvature.stored()["values"]
    right = torch.linalg.eigvalsh(hessian(model, data)).flip(0)
    assert len(values) == 40 // arnoldi.STEPS_FOR_ONE
    assert torch.allclose(values[:5], right[:5], rtol=1e-3)
    assert bool((values <= right[: len(values)] * (1 + 1e-9)).all())  # from below, never above
    vectors = curvature.stored()["vectors"]
    assert relative_error(vectors @ vectors.T, torch.eye(len(values)).double()) < EXACT


def test_influences_are_those_of_captum_inside_the_space(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Captum adds up the Hessian over the data, and leaves out what is outside."""
    from captum.influence._core.arnoldi_influence_function import ArnoldiInfluenceFunction

    steps, seed = 20, 3
    model, data, tests = MLP.model(), dataset(MLP, 8), dataset(MLP, 3, seed=5)
    torch.manual_seed(seed)
    theirs = torch.cat([torch.randn_like(each).flatten() for each in model.parameters()])
    monkeypatch.setattr(arnoldi, "_start", lambda count, seed: theirs.detach())
    curvature = fit_curvature(model, data, kind="arnoldi", damping=2.0, iterations=steps)
    damping = len(data) * curvature.absolute_damping
    torch.save(model.state_dict(), tmp_path / "checkpoint")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        peer = ArnoldiInfluenceFunction(
            model,
            data,
            str(tmp_path / "checkpoint"),
            loss_fn=nn.CrossEntropyLoss(reduction="none"),
            batch_size=4,
            seed=seed,
            arnoldi_dim=steps + 1,  # it gives up the last one
            arnoldi_tol=1e-12,
            projection_dim=steps // arnoldi.STEPS_FOR_ONE,
            hessian_reg=damping,
            hessian_inverse_tol=damping,  # what was above 0 before
        )
        right = peer.influence(tests.tensors)
    vectors = curvature.stored()["vectors"]
    inside = gradients(model, tests) @ vectors.T @ vectors
    solved = flat(curvature.solve(by_name(inside, model)))
    ours = solved @ gradients(model, data).T / len(data)
    assert relative_error(ours, right.detach().to(ours)) < 1e-5


def test_the_seed_decides_where_it_starts() -> None:
    model, data = CNN.model(), dataset(CNN, 5)

    def fitted(seed: int) -> Curvature:
        return fit_curvature(model, data, kind="arnoldi", damping=5.0, iterations=6, seed=seed)

    assert torch.equal(inverse(fitted(0), model), inverse(fitted(0), model))
    assert not torch.equal(inverse(fitted(0), model), inverse(fitted(1), model))


def test_too_many_steps_for_memory_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    model, data = MLP.model(), dataset(MLP, 4)
    count = sum(parameter.numel() for parameter in model.parameters())
    monkeypatch.setattr(arnoldi, "MOST_BYTES", 10 * count * 8)
    with pytest.raises(ValueError, match=r"Pass iterations=10, or fewer parameters"):
        fit_curvature(model, data, kind="arnoldi", iterations=11)
    fit_curvature(model, data, kind="arnoldi", iterations=10, damping=1.0)


def test_without_damping_it_is_refused() -> None:
    with pytest.raises(ValueError, match=r"not positive definite.*Raise damping"):
        fit_curvature(MLP.model(), dataset(MLP, 4), kind="arnoldi", damping=0)
