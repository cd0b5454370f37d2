"""Maps at activations of which a derivative is made, against finite differences."""

from __future__ import annotations

import functools
from typing import Any

import pytest
import torch
from captum.attr import LayerGradientXActivation, LayerIntegratedGradients
from torch import Tensor, nn

from captum_tfa import GradCosScore, LayerTrainingGradCos
from captum_tfa.gradients.module_outputs import of_their_own

TRAIN, TEST = torch.randn(2, 4).double(), torch.randn(1, 4).double()
LABELS = torch.tensor([0, 2])


class InPlace(nn.Module):
    """Overwrites its input with its output."""

    def forward(self, input: Tensor) -> Tensor:
        copy = input * 1
        copy.tanh_()
        return copy


class _Cube(torch.autograd.Function):
    """Keeps its output, and makes its derivative of that."""

    @staticmethod
    def forward(ctx: Any, input: Tensor) -> Tensor:
        output = input**3
        ctx.save_for_backward(output)
        return output

    @staticmethod
    def backward(ctx: Any, delta: Tensor) -> Tensor:
        (output,) = ctx.saved_tensors
        return 3 * delta * (output * output).pow(1 / 3)


class Cube(nn.Module):
    def forward(self, input: Tensor) -> Tensor:
        return _Cube.apply(input)


class Pair(nn.Module):
    def forward(self, input: Tensor) -> tuple[Tensor, Tensor]:
        return input.tanh(), input.sigmoid()


class Joined(nn.Module):
    def forward(self, both: tuple[Tensor, Tensor]) -> Tensor:
        return both[0] * both[1]


ACTIVATIONS: dict[str, nn.Module] = {
    "tanh": nn.Tanh(),
    "sigmoid": nn.Sigmoid(),
    "softmax": nn.Softmax(1),
    "softmin": nn.Softmin(1),
    "log softmax": nn.LogSoftmax(1),
    "elu": nn.ELU(),
    "elu in place": nn.ELU(inplace=True),
    "selu in place": nn.SELU(inplace=True),
    "celu in place": nn.CELU(inplace=True),
    "hard sigmoid in place": nn.Hardsigmoid(inplace=True),
    "gelu": nn.GELU(),
    "relu": nn.ReLU(),
    "written in place": InPlace(),
    "a function of its own": Cube(),
}


def _net(activation: nn.Module) -> nn.Sequential:
    torch.manual_seed(3)
    return (
        nn.Sequential(nn.Linear(4, 6), activation, nn.Linear(6, 6), nn.Tanh(), nn.Linear(6, 3))
        .double()
        .eval()
    )


def _difference(model: nn.Module, layer: nn.Module, step: Tensor, of_input: bool) -> Tensor:
    """How the scores change when the layer's activation is moved, and nothing before it."""
    found = []
    for sign in (1, -1):
        if of_input:
            handle = layer.register_forward_pre_hook(lambda _, given, s=sign: given[0] + s * step)
        else:
            handle = layer.register_forward_hook(lambda _, given, out, s=sign: out + s * step)
        found.append(GradCosScore(model)(TRAIN, TEST, 1, LABELS).detach())
        handle.remove()
    return (found[0] - found[1]) / 2


@pytest.mark.parametrize("of_input", [False, True], ids=["output", "next layer's input"])
@pytest.mark.parametrize("name", ACTIVATIONS)
def test_layer_map_equals_finite_differences(name: str, of_input: bool) -> None:
    model = _net(ACTIVATIONS[name])
    layer = model[2] if of_input else model[1]
    maps = LayerTrainingGradCos(model, layer).attribute(
        TRAIN, LABELS, (TEST, 1), attribute_to_layer_input=of_input
    )
    step = 1e-6 * torch.randn_like(maps)
    expected = _difference(model, layer, step, of_input)
    torch.testing.assert_close((maps * step).sum(1), expected, rtol=1e-5, atol=1e-13)


@pytest.mark.parametrize("method", [LayerGradientXActivation, LayerIntegratedGradients])
def test_captums_layer_methods_see_the_same(method: Any) -> None:
    """Tanh as a module against Tanh of the very same net, read as the next layer's input."""
    model = _net(nn.Tanh())
    score = GradCosScore(model)
    at_output = method(score, model[1]).attribute(TRAIN, additional_forward_args=(TEST, 1, LABELS))
    at_input = method(score, model[2]).attribute(
        TRAIN, additional_forward_args=(TEST, 1, LABELS), attribute_to_layer_input=True
    )
    at_input = at_input[0] if isinstance(at_input, tuple) else at_input
    torch.testing.assert_close(at_output, at_input, rtol=1e-10, atol=1e-14)


def test_several_outputs_at_once() -> None:
    model = nn.Sequential(nn.Linear(4, 6), Pair(), Joined(), nn.Linear(6, 3)).double().eval()
    maps = LayerTrainingGradCos(model, model[1]).attribute(TRAIN, LABELS, (TEST, 1))
    for place in (0, 1):
        step = 1e-6 * torch.randn_like(maps[place])
        found = []
        for sign in (1, -1):
            steps = [sign * step if at == place else 0 for at in (0, 1)]
            moved = functools.partial(_moved, steps)
            handle = model[1].register_forward_hook(moved)
            found.append(GradCosScore(model)(TRAIN, TEST, 1, LABELS).detach())
            handle.remove()
        expected = (found[0] - found[1]) / 2
        torch.testing.assert_close((maps[place] * step).sum(1), expected, rtol=1e-5, atol=1e-13)


def _moved(steps: list[Any], module: nn.Module, given: Any, output: Any) -> Any:
    return tuple(part + step for part, step in zip(output, steps, strict=True))


def test_no_hook_stays() -> None:
    model = _net(nn.Tanh())
    model[1].register_forward_hook(lambda *seen: None)
    before = dict(model[1]._forward_hooks)
    with pytest.raises(ZeroDivisionError), of_their_own(model):
        raise ZeroDivisionError
    assert dict(model[1]._forward_hooks) == before
