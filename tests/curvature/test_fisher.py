from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from captum_tfa.curvature import fisher, fit_curvature
from tests.curvature.slow import CNN, MLP, dataset, gradients, inverse, matrix
from tests.oracle import EXACT, NETS, relative_error


@pytest.mark.parametrize("name", ["small cnn", "encoder", "batch_norm2d", "lstm", "conv1d"])
def test_matrix_is_the_mean_of_outer_products(name: str) -> None:
    model, data = NETS[name].model(), dataset(NETS[name], 7)
    curvature = fit_curvature(model, data, kind="fisher", labels="true", batch_size=3)
    right = gradients(model, data)
    assert relative_error(matrix(curvature, model), right.T @ right / 7) < 1e-7


@settings(max_examples=15, deadline=None)
@given(st.integers(1, 9), st.integers(1, 5), st.floats(0.01, 10), st.integers(20, 2000))
def test_gradients_computed_again_give_what_kept_ones_give(
    count: int, batch: int, damping: float, numbers: int
) -> None:
    model, data = MLP.model(), dataset(MLP, count)
    options = {"kind": "fisher", "labels": "true", "damping": damping, "batch_size": batch}
    kept = fit_curvature(model, data, **options)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(fisher, "MOST_BYTES", min(numbers, count * 50) * 8)
        passed = fit_curvature(model, data, **options)
    assert "gradients" in kept.stored()
    assert "gradients" not in passed.stored()
    assert relative_error(inverse(passed, model), inverse(kept, model)) < 1e-6


def test_gradients_computed_again_are_refused_after_the_model_has_changed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(fisher, "MOST_BYTES", 1000)
    model, data = MLP.model(), dataset(MLP, 8)
    curvature = fit_curvature(model, data, kind="fisher", labels="true")
    with torch.no_grad():
        model[0].weight += 1
    with pytest.raises(ValueError, match="other weights"):
        inverse(curvature, model)


def test_too_many_examples_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fisher, "MOST_EXAMPLES", 4)
    model = CNN.model()
    with pytest.raises(ValueError, match=r"given 5 examples.*up to 4\. Pass max_examples"):
        fit_curvature(model, dataset(CNN, 5), kind="fisher")


def test_no_damping_is_refused() -> None:
    for count in (3, 80):  # fewer and more examples than parameters
        with pytest.raises(ValueError, match=r"not positive definite.*Raise damping"):
            fit_curvature(MLP.model(), dataset(MLP, count), kind="fisher", damping=0)


def test_one_gradient_in_closed_form() -> None:
    model, data = MLP.model(), dataset(MLP, 1)
    curvature = fit_curvature(model, data, kind="fisher", labels="true", damping=0.3)
    gradient, damping = gradients(model, data)[0], curvature.absolute_damping
    right = torch.eye(len(gradient), dtype=torch.float64) - gradient[:, None] * gradient / (
        damping + gradient @ gradient
    )
    assert relative_error(inverse(curvature, model), right / damping) < EXACT
