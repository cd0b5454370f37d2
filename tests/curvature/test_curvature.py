"""What holds for every kind of curvature."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.utils.data import Dataset, TensorDataset

from captum_tfa.curvature import Curvature, fit_curvature
from captum_tfa.curvature.kinds import KINDS
from tests.curvature.slow import CNN, MLP, by_name, dataset, flat, inverse
from tests.oracle import EXACT, model_state, relative_error

every_kind = pytest.mark.parametrize("kind", list(KINDS))

# Enough for the Hessian of a net that was never trained.
DAMPING = 60.0


def fitted(kind: str, **options: Any) -> tuple[nn.Module, Curvature]:
    model = MLP.model()
    options = {"damping": DAMPING, "tolerance": 1e-12, **options}
    return model, fit_curvature(model, dataset(MLP, 7), kind=kind, **options)


def vectors(model: nn.Module, count: int, seed: int = 0) -> dict[str, Tensor]:
    draw = torch.Generator().manual_seed(seed)
    total = sum(parameter.numel() for parameter in model.parameters())
    return by_name(torch.randn(count, total, generator=draw, dtype=torch.float64), model)


@every_kind
def test_map_is_linear_symmetric_and_positive_definite(kind: str) -> None:
    model, curvature = fitted(kind)
    solved = inverse(curvature, model)
    assert relative_error(solved, solved.T) < EXACT
    assert float(torch.linalg.eigvalsh((solved + solved.T) / 2)[0]) > 0
    some = vectors(model, 3)
    assert relative_error(flat(curvature.solve(some)), flat(some) @ solved) < EXACT


@every_kind
def test_as_damping_grows_the_identity_remains(kind: str) -> None:
    model, curvature = fitted(kind)
    some = vectors(model, 2)
    errors = []
    for damping in (1e3, 1e5, 1e7):
        more = curvature.with_damping(damping)
        errors.append(relative_error(flat(more.solve(some)) * more.absolute_damping, flat(some)))
    assert errors[0] > errors[1] > errors[2]
    assert errors[2] < 1e-4


@every_kind
def test_another_damping_is_what_a_new_fit_gives(kind: str) -> None:
    model, curvature = fitted(kind)
    again, other = fitted(kind, damping=90.0)
    changed = curvature.with_damping(90.0)
    assert (curvature.damping, changed.damping) == (DAMPING, 90.0)
    assert changed.absolute_damping == other.absolute_damping
    assert relative_error(inverse(changed, model), inverse(other, again)) < EXACT


@every_kind
def test_solutions_are_differentiable_twice(kind: str) -> None:
    model, curvature = fitted(kind)
    scale = torch.tensor([0.7, -1.3], dtype=torch.float64, requires_grad=True)
    some, other = vectors(model, 2), vectors(model, 2, seed=1)
    shaped = {name: (-1, *[1] * (part.ndim - 1)) for name, part in some.items()}
    # v(s) = s³ w, so uᵀ H⁻¹ v = s³ c: its derivatives are 3 s² c and 6 s c.
    cubed = {name: scale.pow(3).view(shaped[name]) * part for name, part in some.items()}
    inner = (flat(curvature.solve(cubed)) * flat(other)).sum()
    (first,) = torch.autograd.grad(inner, scale, create_graph=True)
    (second,) = torch.autograd.grad(first.sum(), scale)
    constant = (flat(some) @ inverse(curvature, model) * flat(other)).sum(1)
    assert relative_error(first, 3 * scale.detach() ** 2 * constant) < EXACT
    assert relative_error(second, 6 * scale.detach() * constant) < EXACT
    # wᵀ H⁻¹ w is quadratic in what both sides share.
    both = {name: scale.view(shaped[name]) * part for name, part in some.items()}
    norm = (flat(curvature.solve(both)) * flat(both)).sum()
    (first,) = torch.autograd.grad(norm, scale, create_graph=True)
    (second,) = torch.autograd.grad(first.sum(), scale)
    constant = (flat(some) @ inverse(curvature, model) * flat(some)).sum(1)
    assert relative_error(second, 2 * constant) < EXACT


@every_kind
def test_a_parameter_that_is_left_out_counts_as_zeros(kind: str) -> None:
    model, curvature = fitted(kind)
    some = vectors(model, 2)
    whole = {**some, "0.bias": torch.zeros_like(some["0.bias"])}
    part = {name: vector for name, vector in some.items() if name != "0.bias"}
    solved = curvature.solve(part)
    assert list(solved) == list(curvature.names)
    assert relative_error(flat(solved), flat(curvature.solve(whole))) < 1e-12


@every_kind
def test_vectors_set_the_precision(kind: str) -> None:
    model, curvature = fitted(kind, **({"tolerance": 1e-6} if kind == "cg" else {}))
    some = vectors(model, 2)
    single = {name: vector.float() for name, vector in some.items()}
    solved = curvature.solve(single)
    assert {vector.dtype for vector in solved.values()} == {torch.float32}
    assert relative_error(flat(solved).double(), flat(curvature.solve(some))) < 1e-4
    none = curvature.solve({name: vector[:0] for name, vector in some.items()})
    assert [len(vector) for vector in none.values()] == [0] * 4


@every_kind
def test_batches_change_nothing(kind: str) -> None:
    model, one = fitted(kind, batch_size=1)
    _, other = fitted(kind, batch_size=5)
    assert relative_error(inverse(one, model), inverse(other, model)) < EXACT


@every_kind
def test_model_and_chance_are_left_as_found(kind: str) -> None:
    class Noisy(Dataset[tuple[Tensor, Tensor]]):
        def __init__(self, data: TensorDataset) -> None:
            self.data = data

        def __len__(self) -> int:
            return len(self.data)

        def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
            image, label = self.data[index]
            return image + 0.1 * torch.randn_like(image), label

    model = CNN.model()
    model[0].weight.grad = torch.ones_like(model[0].weight)
    fired: list[int] = []
    model[2].register_forward_hook(lambda *_: fired.append(1))
    before = model_state(model)
    curvature = fit_curvature(model, Noisy(dataset(CNN, 4)), kind=kind, damping=500.0)
    curvature.solve({name: value[None] for name, value in model.named_parameters()})
    assert model_state(model) == before
    assert not fired
    again = fit_curvature(model, Noisy(dataset(CNN, 4)), kind=kind, damping=500.0)
    assert again.absolute_damping == curvature.absolute_damping


@every_kind
def test_model_is_left_as_found_after_an_exception(kind: str) -> None:
    model = MLP.model()
    images, labels = dataset(MLP, 4).tensors
    before = model_state(model)
    with pytest.raises(ValueError, match="Label 9 was given"):
        fit_curvature(model, TensorDataset(images, labels + 9 - labels), kind=kind, labels="true")
    assert model_state(model) == before


@every_kind
def test_several_inputs(kind: str) -> None:
    class Two(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.left, self.right = nn.Linear(3, 5), nn.Linear(2, 5, bias=False)

        def forward(self, left: Tensor, right: Tensor) -> dict[str, Tensor]:
            return {"logits": self.left(left) + self.right(right)}

    class Pairs(Dataset[tuple[tuple[Tensor, Tensor], int]]):
        def __len__(self) -> int:
            return 6

        def __getitem__(self, index: int) -> tuple[tuple[Tensor, Tensor], int]:
            draw = torch.Generator().manual_seed(index)
            return (torch.randn(3, generator=draw), torch.randn(2, generator=draw)), index % 5

    model = Two().eval()
    curvature = fit_curvature(
        model, Pairs(), kind=kind, output_fn=lambda out: out["logits"], damping=2.0
    )
    some = {name: torch.randn(2, *value.shape) for name, value in model.named_parameters()}
    solved = curvature.solve(some)
    assert float((flat(solved) * flat(some)).sum(1).min()) > 0


@settings(max_examples=20, deadline=None)
@given(st.integers(1, 6), st.integers(1, 8), st.integers(1, 4), st.sampled_from(["ekfac", "kfac"]))
def test_any_numbers_of_examples_and_vectors(
    count: int, batch: int, vectors_at_once: int, kind: str
) -> None:
    model = MLP.model()
    curvature = fit_curvature(model, dataset(MLP, count), kind=kind, batch_size=batch)
    some = vectors(model, vectors_at_once)
    together = flat(curvature.solve(some))
    for row in range(vectors_at_once):
        alone = curvature.solve({name: part[row : row + 1] for name, part in some.items()})
        assert relative_error(flat(alone)[0], together[row]) < EXACT


def test_wrong_vectors_are_refused() -> None:
    model, curvature = fitted("diagonal")
    some = vectors(model, 2)
    for wrong, error, words in (
        ({}, ValueError, "nothing in it; this curvature was fitted for 0.weight, 0.bias"),
        ({"fc": some["0.bias"]}, ValueError, "vectors has 'fc'"),
        ({"0.bias": some["0.bias"].int()}, TypeError, "torch.int32; it must be a real floating"),
        ({"0.bias": [1.0]}, TypeError, "is list; it must be a real floating tensor"),
        ({"0.bias": some["0.bias"][0]}, ValueError, r"shape \[4\]; M vectors .* \['M', 4\]"),
        ({**some, "0.bias": some["0.bias"][:1]}, ValueError, "holds 1 vectors.*the first one 2"),
        ({**some, "0.bias": some["0.bias"].float()}, ValueError, "All must be alike"),
    ):
        with pytest.raises(error, match=words):
            curvature.solve(wrong)


@pytest.mark.parametrize("damping", [-1, float("nan"), float("inf"), "much", True, None])
def test_wrong_damping_is_refused(damping: Any) -> None:
    _, curvature = fitted("diagonal")
    with pytest.raises((TypeError, ValueError), match="damping is"):
        curvature.with_damping(damping)


@every_kind
def test_gradients_of_zero_are_refused(kind: str) -> None:
    model = nn.Linear(3, 2).eval()

    def flat_loss(outputs: Tensor, targets: Tensor) -> Tensor:
        return 0 * outputs.sum(1)

    data = TensorDataset(torch.randn(4, 3), torch.zeros(4, dtype=torch.long))
    with pytest.raises(ValueError, match="not positive definite"):
        fit_curvature(model, data, kind=kind, labels="true", loss_fn=flat_loss)


@every_kind
def test_images_that_are_not_finite_are_refused(kind: str) -> None:
    images, labels = dataset(MLP, 4).tensors
    images[1, 2] = float("nan")
    with pytest.raises(RuntimeError, match="not finite"):
        fit_curvature(MLP.model(), TensorDataset(images, labels), kind=kind, labels="true")
