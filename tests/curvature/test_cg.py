from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from captum_tfa.curvature import fit_curvature
from captum_tfa.curvature.cg import CgCurvature, conjugate_gradients
from tests.curvature.slow import CNN, MLP, by_name, dataset, flat, inverse
from tests.oracle import NETS, relative_error


@pytest.mark.parametrize("name", ["small cnn", "encoder", "max pooling", "gru"])
def test_solutions_are_those_of_the_dense_matrix(name: str) -> None:
    model, data = NETS[name].model(), dataset(NETS[name], 5)
    curvature = fit_curvature(model, data, kind="cg", batch_size=2, tolerance=1e-10)
    dense = fit_curvature(model, data, kind="ggn")
    ratio = dense.damping / dense.absolute_damping
    dense = dense.with_damping(ratio * curvature.absolute_damping)
    vectors = by_name(torch.randn(3, dense.fingerprint.count).double(), model)
    solved, right = curvature.solve(vectors), dense.solve(vectors)
    assert relative_error(flat(solved), flat(right)) < 1e-8
    assert isinstance(curvature, CgCurvature)
    assert curvature.residuals is not None
    assert curvature.residuals.shape == (3,)
    assert float(curvature.residuals.max()) <= 1e-10


def test_mean_eigenvalue_is_estimated() -> None:
    model, data = MLP.model(), dataset(MLP, 400)
    estimated, exact = (
        fit_curvature(model, data, kind=kind).absolute_damping for kind in ("cg", "ggn")
    )
    assert abs(estimated / exact - 1) < 0.1


def test_no_convergence_is_refused_with_the_residual() -> None:
    model, data = CNN.model(), dataset(CNN, 20)
    curvature = fit_curvature(model, data, kind="cg", damping=1e-6, iterations=3)
    with pytest.raises(RuntimeError, match=r"after 3 iterations the relative residual is .*Raise"):
        curvature.solve(by_name(torch.randn(1, curvature.fingerprint.count).double(), model))


def test_a_model_that_has_changed_is_refused() -> None:
    model, data = MLP.model(), dataset(MLP, 4)
    curvature = fit_curvature(model, data, kind="cg")
    with torch.no_grad():
        model[0].weight += 1
    with pytest.raises(ValueError, match="other weights"):
        inverse(curvature, model)


@settings(max_examples=30, deadline=None)
@given(st.integers(1, 12), st.integers(1, 4), st.integers(0, 100), st.floats(1e-3, 10))
def test_conjugate_gradients_solve(size: int, rows: int, seed: int, least: float) -> None:
    draw = torch.Generator().manual_seed(seed)
    root = torch.randn(size, size, generator=draw, dtype=torch.float64)
    positive = root @ root.T + least * torch.eye(size, dtype=torch.float64)
    wanted = torch.randn(rows, size, generator=draw, dtype=torch.float64)
    wanted[0] = 0  # beside others, a vector of zeros has the solution zero
    solved, residuals = conjugate_gradients(lambda v: v @ positive, wanted, 1e-9, 200)
    assert float((solved @ positive - wanted).norm(dim=1).max()) < 1e-8 * size
    assert float(residuals.max()) <= 1e-9
    assert not solved[0].any()


def test_a_matrix_that_is_not_positive_is_refused() -> None:
    negative = -torch.eye(3, dtype=torch.float64)
    with pytest.raises(RuntimeError, match="without positive curvature"):
        conjugate_gradients(lambda v: v @ negative, torch.ones(1, 3).double(), 1e-6, 10)


def test_float32_reaches_the_default_tolerance() -> None:
    model, data = CNN.model(), dataset(CNN, 10)
    exact = fit_curvature(model, data, kind="cg", tolerance=1e-9)
    images, labels = data.tensors
    single = torch.utils.data.TensorDataset(images.float(), labels)
    coarse = fit_curvature(CNN.model().float(), single, kind="cg")
    vectors = by_name(torch.randn(2, exact.fingerprint.count).double(), model)
    found = coarse.solve({name: vector.float() for name, vector in vectors.items()})
    assert relative_error(flat(found).double(), flat(exact.solve(vectors))) < 0.01
