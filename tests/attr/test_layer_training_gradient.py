"""Layer maps equal the oracle's gradient at the activation, for one layer and for several."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from captum.attr import GradientAttribution, LayerAttribution
from torch import Tensor, nn

from captum_tfa import (
    GradCosScore,
    GradDotScore,
    LayerTrainingGradCos,
    LayerTrainingGradDot,
    TrainingGradCos,
)
from captum_tfa.attr.layer_training_gradient import LayerTrainingGradient
from tests.attr.comparing import assert_same, slow_layer_map
from tests.attr.small_nets import (
    LABELS,
    PictureAndNumbers,
    SplitAndJoin,
    Twice,
    Words,
    drawn,
    made,
    pictures,
    small_net,
)
from tests.oracle import SlowScore, cos, dot

METHODS = pytest.mark.parametrize(
    ("method", "cosine"), [(LayerTrainingGradCos, True), (LayerTrainingGradDot, False)]
)
TEST_LABELS = torch.tensor([1, 0, 1])


@METHODS
@pytest.mark.parametrize("of_input", [False, True], ids=["output", "input"])
@pytest.mark.parametrize("name", ["conv1", "norm", "relu", "conv2", "gelu", "fc", ""])
def test_map_equals_double_backward_oracle(
    method: type[LayerTrainingGradient], cosine: bool, of_input: bool, name: str
) -> None:
    """Also where the next layer works in place (``norm``), and of the whole model (no name)."""
    model, train, test = small_net(), pictures(3, 1), pictures(3, 2)
    layer = model.get_submodule(name)
    maps = method(model, layer).attribute(
        train, LABELS, (test, TEST_LABELS), attribute_to_layer_input=of_input
    )
    slow = SlowScore(model, formula=cos if cosine else dot)
    assert_same(maps, slow_layer_map(slow, layer, train, test, TEST_LABELS, LABELS, of_input))


@METHODS
def test_method_is_a_captum_layer_and_gradient_attribution(
    method: type[LayerTrainingGradient], cosine: bool
) -> None:
    model = small_net()
    tfa = method(model, model.conv2)
    assert isinstance(tfa, LayerAttribution)
    assert isinstance(tfa, GradientAttribution)
    assert type(tfa.forward_func) is (GradCosScore if cosine else GradDotScore)
    assert tfa.layer is model.conv2


@METHODS
def test_missing_labels_are_the_models_own_predictions(
    method: type[LayerTrainingGradient], cosine: bool
) -> None:
    model, train, test = small_net(), pictures(3, 1), pictures(1, 2)
    maps = method(model, model.conv2).attribute(train, additional_forward_args=test)
    slow = SlowScore(model, formula=cos if cosine else dot)
    assert_same(maps, slow_layer_map(slow, model.conv2, train, test.expand(3, -1, -1, -1)))


@METHODS
@pytest.mark.parametrize("of_input", [False, True], ids=["output", "input"])
def test_several_layers_give_a_list_of_maps(
    method: type[LayerTrainingGradient], cosine: bool, of_input: bool
) -> None:
    model, train, test = small_net(), pictures(3, 1), pictures(3, 2)
    layers = [model.conv2, model.fc, model.conv1]
    maps = method(model, layers).attribute(
        train, LABELS, (test, TEST_LABELS), 2, attribute_to_layer_input=of_input
    )
    slow = SlowScore(model, formula=cos if cosine else dot)
    expected = [
        slow_layer_map(slow, layer, train, test, TEST_LABELS, LABELS, of_input) for layer in layers
    ]
    assert_same(maps, expected)


def test_list_of_one_layer_gives_a_list_of_one_map() -> None:
    model, train, test = small_net(), pictures(3, 1), pictures(1, 2)
    maps = LayerTrainingGradCos(model, [model.conv2]).attribute(train, LABELS, test)
    alone = LayerTrainingGradCos(model, model.conv2).attribute(train, LABELS, test)
    assert_same(maps, [alone])


@METHODS
@pytest.mark.parametrize("size", [None, 1, 2])
def test_layer_with_several_outputs_gives_a_tuple(
    method: type[LayerTrainingGradient], cosine: bool, size: int | None
) -> None:
    model, train, test = made(SplitAndJoin()), drawn(3, 1, 6), drawn(3, 2, 6)
    layer = model.get_submodule("split")
    maps = method(model, layer).attribute(train, LABELS, (test, 1), size)
    assert isinstance(maps, tuple)
    slow = SlowScore(model, formula=cos if cosine else dot)
    ones = torch.ones(3, dtype=torch.long)
    assert_same(maps, slow_layer_map(slow, layer, train, test, ones, LABELS))


@METHODS
def test_layer_with_several_inputs_gives_a_tuple_for_them(
    method: type[LayerTrainingGradient], cosine: bool
) -> None:
    model, train, test = made(SplitAndJoin()), drawn(3, 1, 6), drawn(3, 2, 6)
    layer = model.get_submodule("join")
    maps = method(model, layer).attribute(train, LABELS, test, attribute_to_layer_input=True)
    assert isinstance(maps, tuple)
    slow = SlowScore(model, formula=cos if cosine else dot)
    assert_same(maps, slow_layer_map(slow, layer, train, test, None, LABELS, of_input=True))


def test_several_layers_of_one_and_of_two_outputs() -> None:
    model, train, test = made(SplitAndJoin()), drawn(3, 1, 6), drawn(3, 2, 6)
    layers = [model.get_submodule(name) for name in ("join", "split", "split.left")]
    maps = LayerTrainingGradCos(model, layers).attribute(train, LABELS, test)
    slow = SlowScore(model)
    assert_same(maps, [slow_layer_map(slow, one, train, test, None, LABELS) for one in layers])


@METHODS
@pytest.mark.parametrize("size", [1, 2, None, 100])
def test_internal_batch_size_changes_no_map(
    method: type[LayerTrainingGradient], cosine: bool, size: int | None
) -> None:
    model, train, test = small_net(), pictures(3, 1), pictures(3, 2)
    maps = method(model, model.conv1).attribute(train, LABELS, (test, TEST_LABELS), size)
    slow = SlowScore(model, formula=cos if cosine else dot)
    assert_same(maps, slow_layer_map(slow, model.conv1, train, test, TEST_LABELS, LABELS))


def test_map_of_the_first_layers_input_is_the_map_of_the_image() -> None:
    model, train, test = small_net(), pictures(3, 1), pictures(1, 2)
    layer = LayerTrainingGradCos(model, model.conv1)
    maps = layer.attribute(train, LABELS, test, attribute_to_layer_input=True)
    assert_same(maps, TrainingGradCos(model).attribute(train, LABELS, test))


def test_layer_that_is_called_twice_is_mapped_at_its_last_call() -> None:
    """As Captum does."""
    model, train, test = made(Twice()), drawn(3, 1, 6), drawn(3, 2, 6)
    layer = model.get_submodule("again")
    maps = LayerTrainingGradCos(model, layer).attribute(train, LABELS, test)
    assert_same(maps, slow_layer_map(SlowScore(model), layer, train, test, None, LABELS))


def test_layer_of_a_model_with_two_inputs() -> None:
    model = made(PictureAndNumbers())
    train = drawn(3, 1, 1, 4, 4), drawn(3, 2, 3)
    test = drawn(1, 3, 1, 4, 4), drawn(1, 4, 3)
    layer = LayerTrainingGradCos(model, model.get_submodule("numbers"))
    maps = layer.attribute(train, LABELS, (test, 1), attribute_to_layer_input=True)
    assert_same(maps, TrainingGradCos(model).attribute(train, LABELS, (test, 1))[1])


def test_words_have_a_map_at_their_embeddings() -> None:
    """Word numbers have no gradient of their own: the layer map is the only one there is."""
    model = made(Words())
    train, test = torch.arange(15).reshape(3, 5) % 7, torch.arange(15).reshape(3, 5) % 4
    layer = model.get_submodule("table")
    maps = LayerTrainingGradCos(model, layer).attribute(train, LABELS, test)
    assert_same(maps, slow_layer_map(SlowScore(model), layer, train, test, None, LABELS))


@METHODS
def test_only_chosen_parameters_count(method: type[LayerTrainingGradient], cosine: bool) -> None:
    model, train, test = small_net(), pictures(3, 1), pictures(3, 2)
    maps = method(model, model.conv1, parameters=[model.fc]).attribute(train, LABELS, test)
    formula = cos if cosine else dot
    slow = SlowScore(model, formula=formula, parameters=lambda name: name.startswith("fc"))
    assert_same(maps, slow_layer_map(slow, model.conv1, train, test, None, LABELS))


def test_regression() -> None:
    model, train, test = small_net(), pictures(3, 1), pictures(3, 2)
    loss, labels, test_labels = nn.MSELoss(reduction="none"), drawn(3, 7, 3), drawn(3, 8, 3)
    layer = LayerTrainingGradCos(model, model.conv2, loss)
    maps = layer.attribute(train, labels, (test, test_labels))
    slow = SlowScore(model, loss)
    assert_same(maps, slow_layer_map(slow, model.conv2, train, test, test_labels, labels))


@pytest.mark.parametrize("mode", [torch.no_grad, torch.inference_mode])
def test_callers_grad_mode_changes_nothing(mode: Any) -> None:
    model, train, test = small_net(), pictures(3, 1), pictures(3, 2)
    with mode():
        maps = LayerTrainingGradCos(model, model.conv2).attribute(train, LABELS, test)
    assert_same(maps, slow_layer_map(SlowScore(model), model.conv2, train, test, None, LABELS))


@pytest.mark.parametrize("interpolate_mode", ["nearest", "bilinear"])
def test_interpolated_mean_over_channels_is_the_papers_layer_map(interpolate_mode: str) -> None:
    model, train, test = small_net(), pictures(3, 1), pictures(3, 2)
    maps = LayerTrainingGradCos(model, model.conv2).attribute(train, LABELS, test)
    assert isinstance(maps, Tensor)
    given = LayerAttribution.interpolate(
        maps.mean(1, keepdim=True), train.shape[2:], interpolate_mode
    )
    slow = slow_layer_map(SlowScore(model), model.conv2, train, test, None, LABELS)
    assert_same(given, nn.functional.interpolate(slow.mean(1, True), (6, 6), mode=interpolate_mode))


@pytest.mark.parametrize(
    ("layer", "name"),
    [("conv1", "str"), (None, "NoneType"), (nn.ReLU(), "ReLU"), ((nn.ReLU(),), "tuple")],
)
def test_layer_that_is_no_module_of_the_model_is_refused(layer: Any, name: str) -> None:
    model = small_net()
    with pytest.raises(ValueError, match=rf"layer is {name}, which is not a module of the model"):
        LayerTrainingGradCos(model, layer)
    with pytest.raises(ValueError, match=r"give for example model\.layer4, or a list of modules"):
        LayerTrainingGradCos(model, [model.conv1, layer])


def test_empty_list_of_layers_is_refused() -> None:
    with pytest.raises(ValueError, match="layer"):
        LayerTrainingGradCos(small_net(), []).attribute(pictures(1, 1), 1, pictures(1, 2))


class _Detours(nn.Module):
    """Has a layer that the output does not use, and one that is never called."""

    def __init__(self) -> None:
        super().__init__()
        self.body, self.out = nn.Linear(6, 4), nn.Linear(4, 3)
        self.aside, self.never = nn.Linear(4, 2), nn.Linear(4, 2)

    def forward(self, inputs: Tensor) -> Tensor:
        hidden = torch.tanh(self.body(inputs))
        self.aside(hidden)
        return self.out(hidden)


@pytest.mark.parametrize("name", ["aside", "never"])
def test_layer_that_the_score_does_not_depend_on_is_told_in_plain_words(name: str) -> None:
    model = made(_Detours())
    tfa = LayerTrainingGradCos(model, model.get_submodule(name))
    with pytest.raises((ValueError, RuntimeError), match="layer"):
        tfa.attribute(drawn(2, 1, 6), 1, drawn(1, 2, 6))
