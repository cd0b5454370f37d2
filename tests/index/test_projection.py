from __future__ import annotations

import hashlib
from collections.abc import Callable

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from captum_tfa import GradDotScore
from captum_tfa.demo import SmallCNN
from captum_tfa.gradients import Gradients
from captum_tfa.index import projection
from captum_tfa.index.projection import Projection
from tests.index.test_integers import slow_splitmix64


def token_net() -> nn.Module:
    return nn.Sequential(nn.Linear(40, 30), nn.Tanh(), nn.Flatten(), nn.Linear(90, 5))


def grouped_net() -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(4, 8, 3, groups=2, stride=2),
        nn.GroupNorm(2, 8),
        nn.GELU(),
        nn.ConvTranspose2d(8, 6, 2),
        nn.Conv2d(6, 6, 2, groups=6),
        nn.Flatten(),
        nn.Linear(54, 5),
    )


class Attending(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.token = nn.Parameter(torch.randn(1, 1, 8))
        self.embed = nn.Embedding(7, 8)
        self.attend = nn.MultiheadAttention(8, 2, batch_first=True)
        self.head = nn.Linear(8, 5)

    def forward(self, tokens: Tensor) -> Tensor:
        seen = torch.cat([self.token.expand(len(tokens), -1, -1), self.embed(tokens)], 1)
        return self.head(self.attend(seen, seen, seen, need_weights=False)[0].mean(1))


CASES: dict[str, tuple[Callable[[], nn.Module], Callable[[], Tensor]]] = {
    "small CNN": (lambda: SmallCNN(5), lambda: torch.randn(3, 3, 12, 12)),
    "tokens": (token_net, lambda: torch.randn(3, 3, 40)),
    "groups": (grouped_net, lambda: torch.randn(3, 4, 8, 8)),
    "attention": (Attending, lambda: torch.randint(7, (3, 6))),
}


def projected(
    made: Projection, model: nn.Module, inputs: Tensor
) -> tuple[Tensor, Tensor, dict[str, Tensor]]:
    """Projections, squared norms, and the gradients themselves."""
    found: list[tuple[Tensor, Tensor, dict[str, Tensor]]] = []

    def of(gradients: Gradients) -> Tensor:
        terms = ((name, term.stored()) for name, term in gradients.terms.items())
        vectors, squares = made.of(terms)
        found.append((vectors, squares, gradients.dense()))
        return vectors

    labels = torch.arange(len(inputs)) % 5
    GradDotScore(model).of_gradients(of, inputs, labels)
    vectors, squares = (torch.cat([each[place] for each in found]) for place in (0, 1))  # type: ignore[misc]
    return (
        vectors,
        squares,
        {name: torch.cat([each[2][name] for each in found]) for name in found[0][2]},
    )


def double(make: Callable[[], nn.Module], inputs: Callable[[], Tensor]) -> tuple[nn.Module, Tensor]:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model, given = make().double().eval(), inputs()
    return model, given.double() if given.is_floating_point() else given


def explicit_matrix(made: Projection, name: str, shape: torch.Size) -> Tensor:
    """``S [D, P]`` of one parameter, entry by entry."""
    buckets, signs = made.entries(name, shape)
    matrix = torch.zeros(made.dimension, shape.numel(), dtype=torch.float64)
    for column, (bucket, sign) in enumerate(
        zip(buckets.flatten().tolist(), signs.flatten().tolist(), strict=True)
    ):
        matrix[bucket, column] = sign
    return matrix


@pytest.mark.parametrize("factors", ["as it chooses", "always", "never"])
@pytest.mark.parametrize("case", CASES)
def test_a_projection_is_the_explicit_matrix_times_the_gradient(
    case: str, factors: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if factors != "as it chooses":
        monkeypatch.setattr(projection, "_TRANSFORM", 0 if factors == "always" else 10**9)
        monkeypatch.setattr(projection, "_ADDITION", 0 if factors == "always" else 1)
    model, inputs = double(*CASES[case])
    made = Projection(23, 5)
    vectors, squares, gradients = projected(made, model, inputs)
    expected = sum(
        gradient.flatten(1) @ explicit_matrix(made, name, gradient.shape[1:]).T
        for name, gradient in gradients.items()
    )
    torch.testing.assert_close(vectors, expected, rtol=1e-10, atol=1e-13)
    exact = sum(gradient.square().flatten(1).sum(1) for gradient in gradients.values())
    torch.testing.assert_close(squares, exact, rtol=1e-12, atol=0)
    assert set(gradients) == {name for name, _ in model.named_parameters()}


@given(st.integers(1, 70), st.integers(0, 2**63 - 1), st.integers(1, 6), st.integers(1, 6))
@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_entries_follow_from_the_written_rule(
    dimension: int, seed: int, rows: int, columns: int
) -> None:
    def drawn(side: str, count: int) -> list[int]:
        digest = hashlib.sha256(f"{seed}:layer.weight:{side}".encode()).digest()
        return slow_splitmix64(int.from_bytes(digest[:8], "little"), count)

    of_rows, of_columns = drawn("rows", rows), drawn("columns", columns)
    buckets, signs = Projection(dimension, seed).entries(
        "layer.weight", torch.Size([rows, columns])
    )
    for row, one in enumerate(of_rows):
        for column, other in enumerate(of_columns):
            assert buckets[row, column] == ((one >> 1) + (other >> 1)) % dimension
            assert signs[row, column] == (-1) ** ((one & 1) + (other & 1))


def test_entries_never_change() -> None:
    buckets, signs = Projection(2048, 0).entries("conv1.weight", torch.Size([2, 1, 1, 3]))
    assert buckets.tolist() == [[[[265, 1570, 307]]], [[[1930, 1187, 1972]]]]
    assert signs.tolist() == [[[[1, 1, -1]]], [[[1, 1, -1]]]]


@pytest.mark.parametrize("case", ["small CNN", "tokens"])
def test_inner_products_are_unbiased_with_the_stated_variance(case: str) -> None:
    model, inputs = double(*CASES[case])
    dimension, draws = 64, 300
    estimated: list[Tensor] = []
    exact: list[Tensor] = []

    def of(gradients: Gradients) -> Tensor:
        stored = gradients.stored()
        for seed in range(draws):
            vectors, _ = Projection(dimension, seed).of(stored.by_name.items())
            estimated.append(vectors @ vectors.T)
        flat = torch.cat([gradient.flatten(1) for gradient in gradients.dense().values()], 1)
        exact.append(flat @ flat.T)
        return gradients.values

    GradDotScore(model).of_gradients(of, inputs, torch.arange(3))
    found, wanted = torch.stack(estimated), exact[0]
    errors = (found.mean(0) - wanted).abs() / (found.std(0) / draws**0.5)
    assert float(errors.max()) < 4  # standard errors, six of them
    squares = wanted.diagonal()
    ratio = found.var(0) / (squares[:, None] * squares / dimension)
    assert float(ratio.min()) > 0.2
    assert float(ratio.max()) < 9  # for gradients of rank one, squared norms on the diagonal


def test_nothing_to_project_is_refused() -> None:
    with pytest.raises(ValueError, match="No gradient"):
        Projection(4, 0).of([])
