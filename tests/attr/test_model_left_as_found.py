"""The model is exactly as found after every call, also after an exception in its middle."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from captum.attr import IntegratedGradients, LayerIntegratedGradients, NoiseTunnel
from torch import Tensor, nn

from captum_tfa import GradCosScore, LayerTrainingGradCos, ScoreInfluence, TrainingGradCos
from tests.attr.comparing import assert_same, left_as_found
from tests.attr.small_nets import LABELS, SmallNet, pictures, small_net
from tests.oracle import SlowScore, slow_map

TRAIN, TEST = pictures(3, 1), pictures(1, 2)
LossFn = Callable[[Tensor, Tensor], Tensor]


def _pixels(model: SmallNet, loss: LossFn | None = None) -> Any:
    return TrainingGradCos(model, loss).attribute(TRAIN, LABELS, (TEST, 1), 1)


def _layers(model: SmallNet, loss: LossFn | None = None) -> Any:
    tfa = LayerTrainingGradCos(model, [model.conv2, model.norm], loss)
    return tfa.attribute(TRAIN, LABELS, (TEST, 1), 1)


def _smooth(model: SmallNet, loss: LossFn | None = None) -> Any:
    return NoiseTunnel(TrainingGradCos(model, loss)).attribute(
        TRAIN, nt_samples=2, stdevs=0.1, target=LABELS, additional_forward_args=(TEST, 1)
    )


def _integrated(model: SmallNet, loss: LossFn | None = None) -> Any:
    return IntegratedGradients(GradCosScore(model, loss)).attribute(
        TRAIN, n_steps=3, additional_forward_args=(TEST, 1, LABELS)
    )


def _integrated_layer(model: SmallNet, loss: LossFn | None = None) -> Any:
    return LayerIntegratedGradients(GradCosScore(model, loss), model.conv2).attribute(
        TRAIN, n_steps=3, additional_forward_args=(TEST, 1, LABELS)
    )


def _ranking(model: SmallNet, loss: LossFn | None = None) -> Any:
    examples = list(zip(TRAIN, LABELS, strict=True))
    return ScoreInfluence(GradCosScore(model, loss), examples, batch_size=2).influence((TEST, 1))


CALLS = pytest.mark.parametrize(
    "call", [_pixels, _layers, _smooth, _integrated, _integrated_layer, _ranking]
)


def _busy() -> SmallNet:
    """A model with all sorts of state: a frozen parameter, gradients, and the user's own hooks."""
    model = small_net()
    model.conv2.weight.requires_grad_(False)
    model.fc.weight.grad = torch.ones_like(model.fc.weight)
    model.relu.register_forward_hook(lambda *_: None)
    model.conv2.register_full_backward_hook(lambda *_: None)
    model.gelu.register_forward_pre_hook(lambda *_: None)
    model.fc.weight.register_hook(lambda gradient: gradient)
    model.gelu.train()
    return model


@CALLS
def test_after_a_call(call: Callable[[SmallNet], Any]) -> None:
    model = _busy()
    with left_as_found(model):
        call(model)


class _LossError(Exception):
    pass


def _failing_at(wanted: int) -> LossFn:
    """Cross-entropy that fails at its so-manieth call."""
    calls: list[int] = []

    def loss(outputs: Tensor, targets: Tensor) -> Tensor:
        calls.append(1)
        if len(calls) == wanted:
            raise _LossError
        return F.cross_entropy(outputs, targets, reduction="none")

    return loss


@CALLS
@pytest.mark.parametrize("when", [1, 2], ids=["test image", "training images"])
def test_after_an_exception_in_the_loss(call: Callable[..., Any], when: int) -> None:
    model = _busy()
    with left_as_found(model), pytest.raises(_LossError):
        call(model, _failing_at(when))


@pytest.mark.parametrize("call", [_pixels, _layers, _ranking])
def test_after_an_exception_in_the_second_batch(call: Callable[..., Any]) -> None:
    model = _busy()
    with left_as_found(model), pytest.raises(_LossError):
        call(model, _failing_at(3))


class _LayerError(Exception):
    pass


@CALLS
def test_after_an_exception_in_a_layer(call: Callable[[SmallNet], Any]) -> None:
    class Failing(nn.GELU):
        def forward(self, input: Tensor) -> Tensor:
            raise _LayerError

    model = _busy()
    model.gelu = Failing().eval()
    with left_as_found(model), pytest.raises(_LayerError):
        call(model)


class _BackwardError(Exception):
    pass


class _FailingBackward(torch.autograd.Function):
    """The identity, with a backward pass that fails; with ``twice`` only the second one does."""

    @staticmethod
    def forward(ctx: Any, input: Tensor, twice: bool) -> Tensor:
        ctx.twice = twice
        return input.clone()

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        if ctx.twice:
            return _FailingBackward.apply(gradient, False), None
        raise _BackwardError


@pytest.mark.parametrize("twice", [False, True], ids=["first", "second"])
@pytest.mark.parametrize("call", [_pixels, _layers, _smooth, _integrated])
def test_after_an_exception_in_a_backward_pass(
    call: Callable[[SmallNet], Any], twice: bool
) -> None:
    class Failing(nn.GELU):
        def forward(self, input: Tensor) -> Tensor:
            return super().forward(_FailingBackward.apply(input, twice))

    model = _busy()
    model.gelu = Failing().eval()
    with left_as_found(model), pytest.raises(_BackwardError):
        call(model)


def test_maps_after_an_exception_are_right() -> None:
    model = small_net()
    tfa = TrainingGradCos(model, _failing_at(2))
    with pytest.raises(_LossError):
        tfa.attribute(TRAIN, LABELS, (TEST, 1))
    maps = tfa.attribute(TRAIN, LABELS, (TEST, 1))
    assert_same(maps, slow_map(SlowScore(model), TRAIN, TEST, 1, LABELS))


def test_maps_follow_a_model_that_is_trained_on() -> None:
    """The test gradient is remembered only as long as the model stays the same."""
    model = small_net()
    tfa = TrainingGradCos(model)
    tfa.attribute(TRAIN, LABELS, (TEST, 1))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.5)
    F.cross_entropy(model(TRAIN), LABELS).backward()
    optimizer.step()
    maps = tfa.attribute(TRAIN, LABELS, (TEST, 1))
    assert_same(maps, slow_map(SlowScore(model), TRAIN, TEST, 1, LABELS))
    model.fc.weight.data.mul_(-1)
    maps = tfa.attribute(TRAIN, LABELS, (TEST, 1))
    assert_same(maps, slow_map(SlowScore(model), TRAIN, TEST, 1, LABELS))


def test_maps_follow_weights_that_only_change_places() -> None:
    """Through ``data`` a change leaves no trace in torch's count of versions."""
    model = small_net()
    tfa = TrainingGradCos(model)
    tfa.attribute(TRAIN, LABELS, (TEST, 1))
    model.fc.weight.data.copy_(model.fc.weight.data.roll(1, 0))
    maps = tfa.attribute(TRAIN, LABELS, (TEST, 1))
    assert_same(maps, slow_map(SlowScore(model), TRAIN, TEST, 1, LABELS))


def test_maps_follow_a_loss_that_changes() -> None:
    model, loss = small_net(), nn.CrossEntropyLoss(reduction="none")
    tfa = TrainingGradCos(model, loss)
    tfa.attribute(TRAIN, LABELS, (TEST, 1))
    loss.label_smoothing = 0.3
    maps = tfa.attribute(TRAIN, LABELS, (TEST, 1))
    assert_same(maps, slow_map(SlowScore(model, loss), TRAIN, TEST, 1, LABELS))
