"""Forward passes that go around what is usually recorded: exact, or refused, never wrong."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint
from torchvision import tv_tensors
from torchvision.models import densenet

from captum_tfa import GradCosScore, GradDotScore
from tests.oracle import (
    CLASSES,
    EXACT,
    SlowScore,
    assert_exact,
    head,
    relative_error,
    scores_and_maps,
    small_cnn,
)

LABELS = torch.tensor([0, 3, 1])


def _random(*shape: int) -> Tensor:
    return torch.randn(*shape, dtype=torch.float64)


def _assert_exact(model: nn.Module, shape: tuple[int, ...]) -> None:
    model = model.double().eval()
    train, test = _random(3, *shape), _random(1, *shape)
    assert_exact(GradCosScore(model), SlowScore(model), train, test, LABELS[:1], LABELS)


class OneByOne(nn.Module):
    """Goes through the batch in a loop."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv1d(2, 3, 2)
        self.layer = nn.Linear(9, 6)
        self.scale = nn.Parameter(torch.randn(6))
        self.out = nn.Linear(6, CLASSES)

    def forward(self, input: Tensor) -> Tensor:
        rows = [self.layer(self.conv(image).tanh().flatten()).tanh() for image in input]
        return torch.stack([self.out(row * self.scale + self.scale) for row in rows])


def test_a_loop_over_the_examples_is_exact() -> None:
    _assert_exact(OneByOne(), (2, 4))


class Checkpointed(nn.Module):
    """Saves memory by computing its middle again in the backward pass."""

    def __init__(self) -> None:
        super().__init__()
        self.middle = nn.Sequential(nn.Linear(4, 4), nn.Tanh(), nn.Linear(4, 4), nn.Tanh())
        self.out = nn.Linear(4, CLASSES)

    def forward(self, input: Tensor) -> Tensor:
        return self.out(checkpoint(self.middle, input, use_reentrant=False))


@pytest.mark.parametrize(
    ("net", "shape"),
    [
        (Checkpointed(), (4,)),
        (densenet.DenseNet(4, (2, 2), 8, num_classes=5, memory_efficient=True), (3, 16, 16)),
    ],
    ids=["small net", "densenet"],
)
def test_checkpointed_parts_are_exact_or_refused(net: nn.Module, shape: tuple[int, ...]) -> None:
    refusal = ""
    try:
        _assert_exact(net, shape)
    except RuntimeError as error:
        refusal = str(error)
    assert not refusal or "uses activation checkpointing" in refusal


def test_scripted_parts_are_exact() -> None:
    scripted = torch.jit.script(nn.Sequential(nn.Linear(4, 4), nn.Tanh()).double())
    _assert_exact(nn.Sequential(scripted, nn.Linear(4, CLASSES)), (4,))


class InputGradient(nn.Module):
    """Its features are the input gradient of an inner energy, as in models of forces."""

    def __init__(self) -> None:
        super().__init__()
        self.energy = nn.Sequential(nn.Linear(4, 6), nn.Tanh(), nn.Linear(6, 1))
        self.out = nn.Linear(4, CLASSES)

    def forward(self, input: Tensor) -> Tensor:
        with torch.enable_grad():
            input = input if input.requires_grad else input.detach().requires_grad_()
            energy = self.energy(input).sum()
            (force,) = torch.autograd.grad(energy, input, create_graph=True)
        return self.out(force)


class Mapped(nn.Module):
    """Maps its layer over the examples with vmap."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(4, 4)
        self.out = head(12)

    def forward(self, input: Tensor) -> Tensor:
        return self.out(torch.vmap(self.layer)(input).tanh())


class OwnFunction(torch.autograd.Function):
    """``x Wᵀ`` with a backward pass of its own."""

    @staticmethod
    def forward(ctx: object, input: Tensor, weight: Tensor) -> Tensor:
        ctx.save_for_backward(input, weight)  # type: ignore[attr-defined]
        return input @ weight.t()

    @staticmethod
    def backward(ctx: object, delta: Tensor) -> tuple[Tensor, Tensor]:
        input, weight = ctx.saved_tensors  # type: ignore[attr-defined]
        return delta @ weight, delta.t() @ input


class WithOwnFunction(nn.Linear):
    def forward(self, input: Tensor) -> Tensor:
        return OwnFunction.apply(input.tanh(), self.weight) + self.bias


def test_an_autograd_function_of_the_models_own_is_exact() -> None:
    _assert_exact(WithOwnFunction(4, CLASSES), (4,))


class ComplexWeight(nn.Module):
    """A filter in Fourier space."""

    def __init__(self) -> None:
        super().__init__()
        self.filter = nn.Parameter(torch.randn(4, dtype=torch.complex128))
        self.out = nn.Linear(6, CLASSES)

    def forward(self, input: Tensor) -> Tensor:
        return self.out(torch.fft.irfft(torch.fft.rfft(input.tanh()) * self.filter, n=6))


@pytest.mark.parametrize(
    ("net", "shape"), [(InputGradient, (4,)), (Mapped, (3, 4))], ids=["input gradient", "vmap"]
)
def test_exact_or_refused(net: type[nn.Module], shape: tuple[int, ...]) -> None:
    model = net().double().eval()
    train, test = _random(3, *shape), _random(1, *shape)
    try:
        scores, maps = scores_and_maps(GradCosScore(model), train, test, LABELS[:1], LABELS)
    except (RuntimeError, ValueError):
        return
    expected, right = scores_and_maps(SlowScore(model), train, test, LABELS[:1], LABELS)
    assert relative_error(scores, expected) < EXACT
    assert relative_error(maps[0], right[0]) < EXACT


def test_complex_parameters_are_refused_in_words_or_exact() -> None:
    model = ComplexWeight()
    model.out.double()
    train, test = _random(3, 6), _random(1, 6)
    refusal = ""
    try:
        given = GradDotScore(model)(train, test, 1, LABELS)
    except (TypeError, ValueError) as error:
        refusal = str(error)
    if refusal:
        assert "complex" in refusal
        return
    # The gradient of a complex number counts as that of its real and imaginary parts.
    expected = []
    slow = SlowScore(model)
    for row in range(3):
        pair = [
            torch.cat(
                [torch.view_as_real(g).flatten() if g.is_complex() else g.flatten() for g in of]
            )
            for of in (
                slow.gradient((train[row : row + 1],), LABELS[row : row + 1]),
                slow.gradient((test,), torch.tensor([1])),
            )
        ]
        expected.append(pair[0] @ pair[1])
    assert relative_error(given, torch.stack(expected)) < EXACT


def test_subclasses_of_tensors_are_taken_as_inputs() -> None:
    model = small_cnn().double().eval()
    train, test = _random(2, 3, 8, 8), _random(1, 3, 8, 8)
    expected = GradCosScore(model)(train, test, 1, 2)
    given = GradCosScore(model)(tv_tensors.Image(train), tv_tensors.Image(test), 1, 2)
    torch.testing.assert_close(torch.as_tensor(given), expected)


def test_parameters_that_the_output_does_not_use_count_as_zero() -> None:
    class Unused(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.auxiliary = nn.Linear(4, 2)
            self.spare = nn.Parameter(torch.randn(3))
            self.out = nn.Linear(4, CLASSES)

        def forward(self, input: Tensor) -> Tensor:
            self.auxiliary(input)
            return self.out(input.tanh())

    _assert_exact(Unused(), (4,))
