"""Captum's own layer methods on a score, unchanged, against the same methods on a slow score."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

import pytest
import torch
from captum._utils.gradient import compute_layer_gradients_and_eval
from captum.attr import (
    IntegratedGradients,
    InternalInfluence,
    LayerActivation,
    LayerConductance,
    LayerGradCam,
    LayerGradientXActivation,
    LayerIntegratedGradients,
    NeuronGradient,
)
from captum.attr._utils.approximation_methods import approximation_parameters
from torch import Tensor, nn

from captum_tfa import GradCosScore, GradDotScore
from tests.attr.comparing import assert_same, row_by_row
from tests.attr.small_nets import LABELS, ScaledFirst, drawn, made, pictures, small_net
from tests.oracle import SlowScore, dot

TRAIN, TEST = pictures(3, 1), pictures(3, 2)
TEST_LABELS = torch.tensor([1, 0, 1])
Side = tuple[Tensor, ...]
SIDE: Side = (TEST, TEST_LABELS, LABELS)

LAYERS = pytest.mark.parametrize("name", ["conv1", "relu", "conv2", "fc"])
COSINE = pytest.mark.parametrize("cosine", [True, False], ids=["grad-cos", "grad-dot"])
ENDS = pytest.mark.parametrize("of_input", [False, True], ids=["output", "input"])


def _scores(model: nn.Module, cosine: bool) -> tuple[nn.Module, SlowScore]:
    if cosine:
        return GradCosScore(model), SlowScore(model)
    return GradDotScore(model), SlowScore(model, formula=dot)


def _of_each_row(
    method: Callable[[Tensor, Side], Any], train: Tensor = TRAIN, side: Side = SIDE
) -> Any:
    def of_row(row: int) -> Any:
        here = slice(row, row + 1)
        return method(train[here], tuple(tensor[here] for tensor in side))

    return row_by_row(of_row, len(train))


@COSINE
@ENDS
@LAYERS
@pytest.mark.parametrize(
    ("method", "rest"),
    [
        (LayerGradCam, {}),
        (LayerGradCam, {"relu_attributions": True, "attr_dim_summation": False}),
        (LayerGradientXActivation, {}),
    ],
    ids=["LayerGradCam", "LayerGradCam, relu", "LayerGradientXActivation"],
)
def test_gradient_methods_give_the_numbers_of_the_slow_score(
    method: Any, rest: dict[str, bool], name: str, of_input: bool, cosine: bool
) -> None:
    model = small_net()
    score, slow = _scores(model, cosine)
    layer = model.get_submodule(name)

    def of(score: nn.Module, train: Tensor, side: Side) -> Tensor:
        return method(score, layer).attribute(
            train, additional_forward_args=side, attribute_to_layer_input=of_input, **rest
        )

    given = of(score, TRAIN, SIDE)
    expected = _of_each_row(lambda train, side: of(slow, train, side))
    if rest:  # what the ReLU left over may be nothing
        torch.testing.assert_close(given, expected, rtol=1e-8, atol=1e-12)
    else:
        assert_same(given, expected)


@ENDS
@LAYERS
def test_layer_activation_is_that_of_the_training_images(name: str, of_input: bool) -> None:
    model = small_net()
    layer = model.get_submodule(name)
    given = LayerActivation(GradCosScore(model), layer).attribute(
        TRAIN, additional_forward_args=SIDE, attribute_to_layer_input=of_input
    )
    plain = LayerActivation(model, layer).attribute(TRAIN, attribute_to_layer_input=of_input)
    assert_same(given, plain)


@ENDS
@LAYERS
@pytest.mark.parametrize(
    ("cosine", "size"), [(True, None), (False, 4)], ids=["grad-cos", "grad-dot, batches of 4"]
)
def test_internal_influence_gives_the_numbers_of_the_slow_score(
    name: str, of_input: bool, cosine: bool, size: int | None
) -> None:
    model = small_net()
    score, slow = _scores(model, cosine)
    layer = model.get_submodule(name)

    def of(score: nn.Module, train: Tensor, side: Side, size: int | None) -> Tensor:
        return InternalInfluence(score, layer).attribute(
            train,
            n_steps=3,
            internal_batch_size=size,
            additional_forward_args=side,
            attribute_to_layer_input=of_input,
        )

    assert_same(
        of(score, TRAIN, SIDE, size), _of_each_row(lambda train, side: of(slow, train, side, 1))
    )


@ENDS
@LAYERS
@pytest.mark.parametrize(
    ("cosine", "size"), [(True, None), (False, 7)], ids=["grad-cos", "grad-dot, batches of 7"]
)
def test_layer_conductance_gives_the_numbers_of_the_slow_score(
    name: str, of_input: bool, cosine: bool, size: int | None
) -> None:
    """``Σ_k (A_{k+1} − A_k) ∂S/∂A_k`` along the path, here one step and one row at a time."""
    model = small_net()
    score, slow = _scores(model, cosine)
    layer, steps = model.get_submodule(name), 3
    given = LayerConductance(score, layer).attribute(
        TRAIN,
        n_steps=steps,
        internal_batch_size=size,
        additional_forward_args=SIDE,
        attribute_to_layer_input=of_input,
    )
    alphas = approximation_parameters("gausslegendre")[1](steps + 1)

    def expected(train: Tensor, side: Side) -> Tensor:
        path = [
            compute_layer_gradients_and_eval(
                slow,
                layer,
                (alpha * train).requires_grad_(),
                additional_forward_args=side,
                attribute_to_layer_input=of_input,
            )
            for alpha in alphas
        ]
        parts = [(after[1][0] - now[1][0]) * now[0][0] for now, after in itertools.pairwise(path)]
        return torch.stack(parts).sum(0)

    assert_same(given.detach(), _of_each_row(expected).detach())


def _integrated(
    slow: SlowScore, layer: nn.Module, train: Tensor = TRAIN, side: Side = SIDE
) -> Tensor:
    """Integrated gradients of the slow score as a function of the layer's output alone."""

    def activation(images: Tensor) -> Tensor:
        return LayerActivation(slow.model, layer).attribute(images)

    def replaced(output: Tensor, *rest: Tensor) -> Tensor:
        handle = layer.register_forward_hook(lambda *_: output)
        try:
            return slow(*rest)
        finally:
            handle.remove()

    def of_row(train: Tensor, side: Side) -> Tensor:
        return IntegratedGradients(replaced).attribute(
            activation(train),
            activation(torch.zeros_like(train)),
            additional_forward_args=(train, *side),
            n_steps=3,
            internal_batch_size=1,
        )

    return _of_each_row(of_row, train, side)


@COSINE
@pytest.mark.parametrize("name", ["conv1", "relu", "conv2", "gelu"])
@pytest.mark.parametrize("size", [None, 4], ids=["at once", "batches of 4"])
def test_layer_integrated_gradients_are_those_of_the_score_as_a_function_of_the_layer(
    name: str, cosine: bool, size: int | None
) -> None:
    model = small_net()
    score, slow = _scores(model, cosine)
    layer = model.get_submodule(name)
    given = LayerIntegratedGradients(score, layer).attribute(
        TRAIN, n_steps=3, internal_batch_size=size, additional_forward_args=SIDE
    )
    assert_same(given.detach(), _integrated(slow, layer))


def test_layer_integrated_gradients_of_the_first_layers_input_are_those_of_the_image() -> None:
    model = small_net()
    score = GradCosScore(model)
    given = LayerIntegratedGradients(score, model.conv1).attribute(
        TRAIN, n_steps=4, additional_forward_args=SIDE, attribute_to_layer_input=True
    )
    plain = IntegratedGradients(score).attribute(TRAIN, n_steps=4, additional_forward_args=SIDE)
    assert_same(given.detach(), plain)


def test_layer_integrated_gradients_can_be_drawn() -> None:
    """They carry no graph, as those of a plain model do not."""
    model = small_net()
    score = GradCosScore(model)
    given = LayerIntegratedGradients(score, model.conv2).attribute(
        TRAIN, n_steps=2, additional_forward_args=SIDE
    )
    assert given.numpy().shape == (3, 5, 2, 2)


def test_parameters_before_the_layer_have_no_part_in_layer_integrated_gradients() -> None:
    """The layer's output is replaced; also a parameter that no layer type knows is cut off."""
    model = made(ScaledFirst())
    train, side = drawn(3, 1, 6), (drawn(3, 2, 6), TEST_LABELS, LABELS)
    layer = model.get_submodule("hidden")
    given = LayerIntegratedGradients(GradCosScore(model), layer).attribute(
        train, n_steps=3, additional_forward_args=side
    )
    assert_same(given.detach(), _integrated(SlowScore(model), layer, train, side))


@COSINE
def test_neuron_gradient_does_not_depend_on_the_score(cosine: bool) -> None:
    model = small_net()
    score, _ = _scores(model, cosine)
    given = NeuronGradient(score, model.conv2).attribute(
        TRAIN, (1, 0, 1), additional_forward_args=SIDE
    )
    assert_same(given, NeuronGradient(model, model.conv2).attribute(TRAIN, (1, 0, 1)))


def test_users_hooks_fire_for_the_training_batch_alone_and_once() -> None:
    model = small_net()
    seen: list[Tensor] = []
    model.conv1.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0].detach()))
    GradCosScore(model)(TRAIN, TEST, TEST_LABELS, LABELS)
    assert len(seen) == 1
    assert torch.equal(seen[0], TRAIN)
