"""A map is a second derivative: what happens where an operation of the model has none."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from captum_tfa import GradCosScore, LayerTrainingGradCos, ScoreInfluence, TrainingGradCos
from tests.attr.comparing import assert_same
from tests.attr.small_nets import drawn, made
from tests.oracle import SlowScore, slow_map

TRAIN, TEST, LABELS = drawn(3, 1, 6), drawn(1, 2, 6), torch.tensor([0, 2, 1])


class _CosineTimes(torch.autograd.Function):
    """The backward of a sine, without a backward of its own, as some of torch's operations are."""

    @staticmethod
    def forward(ctx: Any, gradient: Tensor, input: Tensor) -> Tensor:
        return gradient * input.cos()

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        raise RuntimeError("derivative for aten::sine_backward is not implemented")


class _Sine(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, input: Tensor) -> Tensor:
        ctx.save_for_backward(input)
        return input.sin()

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        return _CosineTimes.apply(gradient, *ctx.saved_tensors)


class _SineOnce(torch.autograd.Function):
    """Its authors say that it can be differentiated once, as those of many extensions do."""

    @staticmethod
    def forward(ctx: Any, input: Tensor) -> Tensor:
        ctx.save_for_backward(input)
        return input.sin()

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        return gradient * ctx.saved_tensors[0].cos()


class _Once(nn.Module):
    """A classifier of vectors ``[B, 6]`` with a sine that has no second derivative."""

    def __init__(self, sine: type[torch.autograd.Function]) -> None:
        super().__init__()
        self.first, self.last, self.sine = nn.Linear(6, 4), nn.Linear(4, 3), sine

    def forward(self, inputs: Tensor) -> Tensor:
        return self.last(torch.tanh(self.sine.apply(self.first(inputs))))


@pytest.mark.parametrize("sine", [_Sine, _SineOnce])
def test_map_through_it_is_refused_with_a_remedy(sine: type[torch.autograd.Function]) -> None:
    model = made(_Once(sine))
    with pytest.raises(RuntimeError, match=r"an operation of the model has none.*`parameters=`"):
        TrainingGradCos(model).attribute(TRAIN, LABELS, TEST)
    layer = LayerTrainingGradCos(model, model.get_submodule("first"))
    with pytest.raises(RuntimeError, match=r"an operation of the model has none.*later layers"):
        layer.attribute(TRAIN, LABELS, TEST)


def test_operations_of_torch_without_a_second_derivative_are_named() -> None:
    class Model(_Once):
        def forward(self, inputs: Tensor) -> Tensor:
            hidden = torch.ops.aten.hardsigmoid(self.first(inputs))
            return self.last(hidden)

    model = made(Model(_Sine))
    with pytest.raises(RuntimeError, match=r"none \(.*hardsigmoid_backward.*Replace that operati"):
        TrainingGradCos(model).attribute(TRAIN, LABELS, TEST)


def test_remedy_of_parameters_behind_it_works() -> None:
    model = made(_Once(_Sine))
    maps = TrainingGradCos(model, parameters=["last"]).attribute(TRAIN, LABELS, TEST)
    slow = SlowScore(model, parameters=lambda name: name.startswith("last"))
    assert_same(maps, slow_map(slow, TRAIN, TEST, None, LABELS))


def test_remedy_of_a_later_layer_works() -> None:
    model = made(_Once(_Sine))
    layer = LayerTrainingGradCos(model, model.get_submodule("last"), parameters=["last"])
    maps = layer.attribute(TRAIN, LABELS, TEST, attribute_to_layer_input=True)
    assert isinstance(maps, Tensor)
    assert bool(maps.isfinite().all())
    assert maps.shape == (3, 4)


@pytest.mark.parametrize("sine", [_Sine, _SineOnce])
def test_scores_and_rankings_need_no_second_derivative(
    sine: type[torch.autograd.Function],
) -> None:
    model = made(_Once(sine))
    expected = SlowScore(model)(TRAIN, TEST, 1, LABELS).detach()
    assert_same(GradCosScore(model)(TRAIN, TEST, 1, LABELS).detach(), expected)
    examples = list(zip(TRAIN, LABELS, strict=True))
    ranked = ScoreInfluence(GradCosScore(model), examples).influence((TEST, 1))
    assert_same(ranked, expected[None])


class _Frozen(nn.Module):
    """Computes its features without gradients."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.last = nn.Linear(6, 4), nn.Linear(4, 3)

    def forward(self, inputs: Tensor) -> Tensor:
        with torch.no_grad():
            features = torch.tanh(self.first(inputs))
        return self.last(features)


def test_score_that_does_not_depend_on_the_training_image_is_no_map_of_zeros() -> None:
    model = made(_Frozen())
    with pytest.raises(RuntimeError, match=r"does not depend on the training image.*Let gradients"):
        TrainingGradCos(model).attribute(TRAIN, LABELS, TEST)
