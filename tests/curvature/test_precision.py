from __future__ import annotations

from typing import Any

import pytest
import torch
from torch.utils.data import TensorDataset

from captum_tfa.curvature import Curvature, fit_curvature
from tests.curvature.slow import CNN, MLP, by_name, dataset, flat
from tests.oracle import Case, relative_error


def halved(case: Case, precision: torch.dtype, kind: Any, **options: Any) -> tuple[Any, Any]:
    """Curvatures of a model in half precision and of the same model in float64, their solutions."""
    model, data = case.model().to(precision), dataset(case, 8)
    coarse = TensorDataset(data.tensors[0].to(precision), data.tensors[1])
    exact = TensorDataset(coarse.tensors[0].double(), data.tensors[1])
    options = {"kind": kind, "labels": "true", **options}
    fitted = [fit_curvature(model, coarse, **options)]
    fitted += [fit_curvature(case.model().to(precision).double(), exact, **options)]
    draw = torch.Generator().manual_seed(0)
    vectors = torch.randn(3, fitted[0].fingerprint.count, generator=draw, dtype=torch.float64)
    solved = [flat(each.solve(by_name(vectors, model))) * each.absolute_damping for each in fitted]
    return tuple(solved), tuple(fitted)


@pytest.mark.parametrize("precision", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("kind", ["diagonal", "kfac", "ekfac", "fisher"])
def test_half_precision_gives_what_float64_gives(kind: str, precision: torch.dtype) -> None:
    (coarse, exact), curvatures = halved(MLP, precision, kind, damping=1.0)
    assert relative_error(coarse, exact) < 0.03
    ratio = curvatures[0].absolute_damping / curvatures[1].absolute_damping
    assert abs(ratio - 1) < 0.03


@pytest.mark.parametrize("kind", ["diagonal", "kfac", "ekfac", "fisher"])
def test_squares_that_float16_cannot_hold_are_not_lost(kind: str) -> None:
    def small(outputs: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        return 1e-4 * torch.nn.functional.cross_entropy(outputs, labels, reduction="none")

    (_, _), (coarse, exact) = halved(MLP, torch.float16, kind, loss_fn=small)
    assert isinstance(coarse, Curvature)
    assert abs(coarse.absolute_damping / exact.absolute_damping - 1) < 0.1


@pytest.mark.parametrize("kind", ["kfac", "ekfac"])
def test_without_damping_what_is_zero_but_for_rounding_is_refused(kind: Any) -> None:
    """Six examples leave directions in which no gradient points."""
    model, data = MLP.model(), dataset(MLP, 6)
    for precision in (torch.float64, torch.float32):
        some = TensorDataset(data.tensors[0].to(precision), data.tensors[1])
        with pytest.raises(ValueError, match=r"not positive definite.*Raise damping"):
            fit_curvature(model.to(precision), some, kind=kind, damping=0)


@pytest.mark.parametrize("kind", ["kfac", "ekfac", "diagonal"])
def test_without_damping_what_is_positive_is_inverted(kind: Any) -> None:
    """The last layer would not do: its deltas sum to zero, so one direction has no curvature."""
    model, data = MLP.model(), dataset(MLP, 200)
    curvature = fit_curvature(model, data, kind=kind, damping=0, parameters=["0"])
    assert curvature.absolute_damping == 0
    small = curvature.with_damping(1e-12)
    vectors = {
        name: torch.randn(2, *shape).double()
        for name, shape in curvature.fingerprint.shapes.items()
    }
    assert relative_error(flat(curvature.solve(vectors)), flat(small.solve(vectors))) < 1e-6


def test_a_model_without_values_is_refused() -> None:
    with pytest.raises(ValueError, match=r"on the meta device.*Load its weights first"):
        fit_curvature(CNN.model().to("meta"), dataset(CNN, 3))
