"""Weights that are computed from parameters: exact, and without a pass for each example."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import pytest
import timm.layers
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn.utils import parametrizations, parametrize, prune, weight_norm

from captum_tfa import GradCosScore, GradDotScore, LayerTrainingGradCos
from tests.oracle import (
    EXACT,
    SlowScore,
    assert_exact,
    assert_layer_exact,
    classifier,
    relative_error,
)


def _at_once(layer: nn.Module, shape: Sequence[int]) -> bool:
    """Whether one backward pass serves a batch."""
    score = GradCosScore(classifier(layer, shape))
    images = torch.randn(3, *shape).double()
    score(images, images[:1], 1, 0)
    return score._gradients.room.one_at_a_time is False


def _old(module: nn.Module, dim: int | None) -> nn.Module:
    normed: nn.Module = weight_norm(module, dim=dim)
    return normed


def _new(module: nn.Module, dim: int | None) -> nn.Module:
    normed: nn.Module = parametrizations.weight_norm(module, dim=-1 if dim is None else dim)
    return normed


NORMS: list[Callable[[nn.Module, int | None], nn.Module]] = [_old, _new]
LAYERS: dict[str, tuple[Callable[[], nn.Module], list[int]]] = {
    "linear": (lambda: nn.Linear(4, 3), [4]),
    "linear of tokens": (lambda: nn.Linear(4, 3, bias=False), [5, 4]),
    "conv1d": (lambda: nn.Conv1d(2, 3, 2), [2, 5]),
    "conv2d": (lambda: nn.Conv2d(4, 6, 2, stride=2, groups=2, padding=1), [4, 5, 5]),
    "conv2d, large": (lambda: nn.Conv2d(3, 8, 3, padding=1), [3, 12, 12]),
    "conv3d": (lambda: nn.Conv3d(2, 3, 2), [2, 3, 3, 3]),
    "transposed": (lambda: nn.ConvTranspose2d(2, 3, 2), [2, 3, 3]),
}


@pytest.mark.parametrize("norm", NORMS)
@given(
    layer=st.sampled_from(sorted(LAYERS)),
    dim=st.sampled_from([0, 1, None]),
    batch=st.integers(1, 3),
)
@settings(deadline=None, max_examples=15)
def test_weight_normalised_layers_are_exact(
    norm: Callable[[nn.Module, int | None], nn.Module], layer: str, dim: int | None, batch: int
) -> None:
    make, shape = LAYERS[layer]
    assert_layer_exact(norm(make(), dim), shape, batch)


STANDARDISED: dict[str, Callable[[], nn.Module]] = {
    "StdConv2d": lambda: timm.layers.StdConv2d(4, 3, 2, eps=0.01),
    "StdConv2dSame": lambda: timm.layers.StdConv2dSame(4, 3, 2, stride=2, eps=0.01),
    "ScaledStdConv2d": lambda: timm.layers.ScaledStdConv2d(4, 6, 2, groups=2, eps=0.01),
    "ScaledStdConv2dSame": lambda: timm.layers.ScaledStdConv2dSame(4, 3, 2, eps=0.01),
}


@pytest.mark.parametrize("kind", STANDARDISED)
@pytest.mark.parametrize("batch", [1, 3])
def test_weight_standardised_layers_are_exact(kind: str, batch: int) -> None:
    assert_layer_exact(STANDARDISED[kind](), [4, 4, 4], batch)


class Masked(nn.Module):
    """Its weight is a raw parameter of one row, times numbers that are no parameter."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(1, 4))
        self.register_buffer("mask", torch.tensor([[1.0, 0, 2, 1]]))

    def forward(self, input: Tensor) -> Tensor:
        return F.linear(input, self.weight * self.mask)


class Parts(nn.Module):
    """One tensor holds the weights of three maps, one of which is used twice."""

    def __init__(self) -> None:
        super().__init__()
        self.weights = nn.Parameter(torch.randn(12, 4))
        self.bias = nn.Parameter(torch.randn(8))

    def forward(self, input: Tensor) -> Tensor:
        one, two, three = self.weights.chunk(3)
        hidden = F.linear(input, one, self.bias[:4]).tanh()
        hidden = F.linear(hidden, two, self.bias[4:].exp()).tanh()
        return F.linear(F.linear(hidden, three).tanh(), one)


class Regularised(nn.Module):
    """The computed weight and its parameter also reach the output otherwise."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(3, 4))

    def forward(self, input: Tensor) -> Tensor:
        computed = torch.softmax(self.weight, 1)
        output = F.linear(input, computed)
        return output * computed.square().sum() + self.weight.prod(1).sin()


class OfSeveral(nn.Module):
    """Factors of a weight, its norm weights and its slopes are computed too."""

    def __init__(self) -> None:
        super().__init__()
        self.left, self.right = nn.Parameter(torch.randn(3, 2)), nn.Parameter(torch.randn(2, 4))
        self.scale = nn.Parameter(torch.randn(3))

    def forward(self, input: Tensor) -> Tensor:
        hidden = F.linear(input, self.left @ self.right, self.scale.tanh())
        hidden = F.layer_norm(hidden, (3,), 1 + self.scale, None, 0.1)
        return F.prelu(hidden.transpose(1, 2), self.scale.sigmoid())


class _Twice(torch.autograd.Function):
    """A function that torch cannot take for several cotangents at once."""

    @staticmethod
    def forward(ctx: Any, input: Tensor) -> Tensor:
        return 2 * input

    @staticmethod
    def backward(ctx: Any, delta: Tensor) -> Tensor:
        return 2 * delta.clone().detach() if not delta.requires_grad else 2 * delta


class Unusual(nn.Module):
    """Its weight's Jacobian holds a function written in Python."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(3, 4))

    def forward(self, input: Tensor) -> Tensor:
        return F.linear(input, _Twice.apply(self.weight).tanh())


OTHERS: dict[str, Callable[[], nn.Module]] = {
    "spectral": lambda: parametrizations.spectral_norm(nn.Linear(4, 3)),
    "orthogonal": lambda: parametrizations.orthogonal(nn.Linear(4, 3)),
    "pruned": lambda: prune.random_unstructured(nn.Linear(4, 3), "weight", 0.5),
    "masked": Masked,
    "parts": Parts,
    "regularised": Regularised,
    "of several": OfSeveral,
    "attention": lambda: nn.TransformerEncoderLayer(4, 2, 8, batch_first=True, dropout=0.0),
}


@pytest.mark.parametrize("kind", OTHERS)
@pytest.mark.parametrize("batch", [1, 3])
def test_other_computed_weights_are_exact(kind: str, batch: int) -> None:
    assert_layer_exact(OTHERS[kind](), [5, 4], batch)


def test_a_computation_that_torch_does_not_show_is_exact() -> None:
    assert_layer_exact(Unusual(), [5, 4], 3)


AT_ONCE: dict[str, tuple[Callable[[], nn.Module], list[int]]] = {
    "weight norm, old": (lambda: _old(nn.Linear(4, 3), 0), [5, 4]),
    "weight norm": (lambda: _new(nn.Conv2d(4, 3, 2), 0), [4, 4, 4]),
    **{name: (make, [4, 4, 4]) for name, make in STANDARDISED.items()},
    **{
        name: (OTHERS[name], [5, 4])
        for name in ("spectral", "pruned", "masked", "parts", "of several", "attention")
    },
}


@pytest.mark.parametrize("kind", AT_ONCE)
def test_one_backward_pass_serves_all_examples(kind: str) -> None:
    make, shape = AT_ONCE[kind]
    assert _at_once(make(), shape)


def test_what_is_used_otherwise_too_still_needs_a_pass_for_each_example() -> None:
    assert not _at_once(Regularised(), [5, 4])


class OfImages(nn.Module):
    """A layer whose weight follows from a parameter and from the images."""

    def __init__(self, seen: bool) -> None:
        super().__init__()
        self.weight, self.first = nn.Parameter(torch.randn(3, 4)), nn.Linear(4, 4)
        self.seen = seen

    def forward(self, input: Tensor) -> Tensor:
        hidden = self.first(input).tanh()
        if len(input) > 1:  # of a batch, so that examples are apart
            return torch.cat([self(one[None]) for one in input])
        scale = hidden.mean((0, 1))
        scale = scale if self.seen else _Twice.apply(scale)
        return F.linear(hidden, self.weight * scale)


@pytest.mark.parametrize("seen", [True, False])
def test_weights_that_depend_on_the_images_are_exact(seen: bool) -> None:
    assert_layer_exact(OfImages(seen), [5, 4], 3)


def test_weights_made_by_a_loop_are_exact_where_several_at_once_fail(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    grad = torch.autograd.grad

    def refusing(*args: Any, is_grads_batched: bool = False, **kwargs: Any) -> Any:
        if is_grads_batched:
            raise RuntimeError("no rule for several at once")
        return grad(*args, **kwargs)

    monkeypatch.setattr(torch.autograd, "grad", refusing)
    assert_layer_exact(_new(nn.Linear(4, 3), 0), [5, 4], 3)


@pytest.mark.parametrize("left_out", ["parametrizations.weight.original0", "bias"])
def test_a_choice_of_parameters_is_kept_to(left_out: str) -> None:
    model = classifier(_new(nn.Linear(4, 3), 0), [4])

    def chosen(name: str) -> bool:
        return left_out not in name

    score, slow = GradCosScore(model, parameters=chosen), SlowScore(model, parameters=chosen)
    train, test = torch.randn(2, 3, 4).double()
    assert_exact(score, slow, train, test, torch.tensor([1, 0, 2]), torch.tensor([0, 1, 2]))


def test_frozen_parameters_of_a_weight_do_not_count() -> None:
    model = classifier(_old(nn.Linear(4, 3), 0), [4])
    model[0].weight_g.requires_grad_(False)
    train, test = torch.randn(2, 3, 4).double()
    labels = torch.tensor([0, 1, 2])
    assert_exact(GradCosScore(model), SlowScore(model), train, test, labels.flip(0), labels)


def test_a_model_of_such_layers_with_one_of_them_shared() -> None:
    shared = _new(nn.Conv2d(3, 3, 3, padding=1), 0)
    layers = nn.Sequential(
        shared, nn.Tanh(), timm.layers.ScaledStdConv2d(3, 3, 3, eps=0.01), nn.GELU(), shared
    )
    assert_layer_exact(layers, [3, 6, 6], 3)
    assert _at_once(layers, [3, 6, 6])
    model = classifier(layers, [3, 6, 6])
    train, test = torch.randn(2, 3, 3, 6, 6).double()
    maps = LayerTrainingGradCos(model, model[0][2]).attribute(train, 1, (test, 0))
    each = [
        LayerTrainingGradCos(model, model[0][2]).attribute(one[None], 1, (other[None], 0))
        for one, other in zip(train, test, strict=True)
    ]
    assert relative_error(maps, torch.cat(each)) < EXACT


def test_the_parametrisation_is_left_as_it_was() -> None:
    layer = _new(nn.Linear(4, 3), 0)
    model = classifier(layer, [4])
    before = {name: value.clone() for name, value in model.state_dict().items()}
    with parametrize.cached():
        GradDotScore(model)(torch.randn(2, 4).double(), torch.randn(1, 4).double(), 1, 0)
    after = model.state_dict()
    assert all(torch.equal(value, after[name]) for name, value in before.items())
    assert all(parameter.grad is None for parameter in model.parameters())
