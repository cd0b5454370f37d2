"""Maps equal the double-backward oracle, whatever the labels, losses, models and modes."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from captum.attr import GradientAttribution
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from captum_tfa import (
    GradCosScore,
    GradDotScore,
    TrainingGradCos,
    TrainingGradDot,
    ZeroGradientWarning,
)
from captum_tfa.attr.training_gradient import TrainingGradient
from tests.attr.comparing import assert_same
from tests.attr.small_nets import (
    LABELS,
    PictureAndNumbers,
    SmallNet,
    Twice,
    drawn,
    made,
    pictures,
    small_net,
)
from tests.oracle import SlowScore, cos, dot, slow_map

METHODS = pytest.mark.parametrize(
    ("method", "cosine"), [(TrainingGradCos, True), (TrainingGradDot, False)]
)


@METHODS
@pytest.mark.parametrize("tests", [1, 3], ids=["one test image", "one test image each"])
@pytest.mark.parametrize("train_target", [LABELS, None], ids=["labels", "predictions"])
@pytest.mark.parametrize("test_target", [torch.tensor([1]), None], ids=["label", "prediction"])
def test_map_equals_double_backward_oracle(
    method: type[TrainingGradient],
    cosine: bool,
    tests: int,
    train_target: Tensor | None,
    test_target: Tensor | None,
) -> None:
    model, train, test = small_net(), pictures(3, 1), pictures(tests, 2)
    maps = method(model).attribute(
        train, target=train_target, additional_forward_args=(test, test_target)
    )
    expected = slow_map(
        SlowScore(model, formula=cos if cosine else dot), train, test, test_target, train_target
    )
    assert_same(maps, expected)


@METHODS
def test_method_is_a_captum_gradient_attribution_of_its_score(
    method: type[TrainingGradient], cosine: bool
) -> None:
    model = small_net()
    tfa = method(model)
    assert isinstance(tfa, GradientAttribution)
    assert type(tfa.forward_func) is (GradCosScore if cosine else GradDotScore)
    assert tfa.forward_func.model is model
    assert not tfa.has_convergence_delta()


@pytest.mark.parametrize(
    "target",
    [2, [2], (2,), torch.tensor(2), torch.tensor([2]), torch.tensor([2, 2, 2], dtype=torch.int32)],
    ids=repr,
)
def test_one_label_serves_all_training_images_in_every_form(target: object) -> None:
    model, train, test = small_net(), pictures(3, 1), pictures(1, 2)
    maps = TrainingGradCos(model).attribute(train, target=target, additional_forward_args=test)
    assert_same(maps, slow_map(SlowScore(model), train, test, None, torch.tensor([2, 2, 2])))


def test_training_labels_may_stand_behind_the_test_side() -> None:
    model, train, test = small_net(), pictures(3, 1), pictures(1, 2)
    tfa = TrainingGradCos(model)
    third = tfa.attribute(train, additional_forward_args=(test, 0, LABELS))
    assert_same(third, tfa.attribute(train, LABELS, (test, 0)))


@pytest.mark.parametrize("test_side", [pictures(1, 2), (pictures(1, 2),), [pictures(1, 2)]])
def test_a_test_image_alone_needs_no_tuple(test_side: object) -> None:
    model, train = small_net(), pictures(2, 1)
    maps = TrainingGradCos(model).attribute(train, 1, test_side)
    assert_same(maps, slow_map(SlowScore(model), train, pictures(1, 2), None, 1))


def test_tuple_in_tuple_out() -> None:
    model, train, test = small_net(), pictures(2, 1), pictures(1, 2)
    tfa = TrainingGradCos(model)
    maps = tfa.attribute((train,), target=1, additional_forward_args=test)
    assert isinstance(maps, tuple)
    assert len(maps) == 1
    assert_same(maps[0], tfa.attribute(train, target=1, additional_forward_args=test))


@METHODS
@pytest.mark.parametrize("size", [None, 2])
def test_model_with_two_inputs(
    method: type[TrainingGradient], cosine: bool, size: int | None
) -> None:
    model = made(PictureAndNumbers())
    train, test = (drawn(3, 1, 1, 4, 4), drawn(3, 2, 3)), (drawn(1, 3, 1, 4, 4), drawn(1, 4, 3))
    maps = method(model).attribute(train, LABELS, (test, 1), internal_batch_size=size)
    assert_same(
        maps, slow_map(SlowScore(model, formula=cos if cosine else dot), train, test, 1, LABELS)
    )


def test_no_input_of_a_list_is_lost() -> None:
    model = made(PictureAndNumbers())
    train, test = [drawn(3, 1, 1, 4, 4), drawn(3, 2, 3)], (drawn(1, 3, 1, 4, 4), drawn(1, 4, 3))
    try:
        maps = TrainingGradCos(model).attribute(train, LABELS, (test, 1))
    except TypeError:
        return  # as Captum does
    assert_same(tuple(maps), slow_map(SlowScore(model), tuple(train), test, 1, LABELS))


@METHODS
def test_layer_that_is_called_twice(method: type[TrainingGradient], cosine: bool) -> None:
    model, train, test = made(Twice()), drawn(3, 1, 6), drawn(1, 2, 6)
    maps = method(model).attribute(train, LABELS, test)
    assert_same(
        maps, slow_map(SlowScore(model, formula=cos if cosine else dot), train, test, None, LABELS)
    )


class _Named(SmallNet):
    def forward(self, images: Tensor) -> Any:
        return SimpleNamespace(logits=super().forward(images), loss=None)


def _of_two(outputs: Tensor, targets: Tensor) -> Tensor:
    return ((outputs - targets) ** 2 * torch.tensor([1.0, 2.0, 0.5])).sum(1)


@METHODS
@pytest.mark.parametrize(
    ("loss_fn", "train_target", "test_target"),
    [
        (
            nn.BCEWithLogitsLoss(reduction="none"),
            torch.eye(3).double(),
            torch.tensor([[0.0, 1.0, 1.0]]).double(),
        ),
        (nn.BCEWithLogitsLoss(reduction="none"), torch.eye(3).double(), None),
        (nn.MSELoss(reduction="none"), drawn(3, 7, 3), drawn(1, 8, 3)),
        (_of_two, drawn(3, 7, 3), drawn(1, 8, 3)),
    ],
    ids=["multi-label", "multi-label, predicted", "regression", "own"],
)
def test_other_losses(
    method: type[TrainingGradient],
    cosine: bool,
    loss_fn: Callable[[Any, Any], Tensor],
    train_target: Tensor,
    test_target: Tensor | None,
) -> None:
    model, train, test = small_net(), pictures(3, 1), pictures(1, 2)
    maps = method(model, loss_fn).attribute(train, train_target, (test, test_target))
    slow = SlowScore(model, loss_fn, cos if cosine else dot)
    assert_same(maps, slow_map(slow, train, test, test_target, train_target))


def test_output_fn_picks_the_logits() -> None:
    model, train, test = made(_Named()), pictures(3, 1), pictures(1, 2)
    maps = TrainingGradCos(model, output_fn=lambda out: out.logits).attribute(train, LABELS, test)
    assert_same(maps, slow_map(SlowScore(small_net()), train, test, None, LABELS))


@METHODS
@pytest.mark.parametrize("chosen", ["fc", "conv1", "norm.weight"])
def test_only_chosen_parameters_count(
    method: type[TrainingGradient], cosine: bool, chosen: str
) -> None:
    model, train, test = small_net(), pictures(3, 1), pictures(1, 2)
    maps = method(model, parameters=[chosen]).attribute(train, LABELS, test)
    slow = SlowScore(
        model, formula=cos if cosine else dot, parameters=lambda name: name.startswith(chosen)
    )
    assert_same(maps, slow_map(slow, train, test, None, LABELS))


@METHODS
@pytest.mark.parametrize("size", [1, 2, None, 100])
def test_internal_batch_size_changes_no_map(
    method: type[TrainingGradient], cosine: bool, size: int | None
) -> None:
    model, train, test = small_net(), pictures(3, 1), pictures(3, 2)
    maps = method(model).attribute(
        train, LABELS, (test, torch.tensor([1, 0, 2])), internal_batch_size=size
    )
    slow = SlowScore(model, formula=cos if cosine else dot)
    assert_same(maps, slow_map(slow, train, test, torch.tensor([1, 0, 2]), LABELS))


@METHODS
@settings(deadline=None, max_examples=15)
@given(data=st.data())
def test_permuting_the_batch_permutes_the_maps(
    method: type[TrainingGradient], cosine: bool, data: st.DataObject
) -> None:
    batch = data.draw(st.integers(1, 6), "batch")
    size = data.draw(st.none() | st.integers(1, 7), "internal_batch_size")
    order = torch.tensor(data.draw(st.permutations(range(batch)), "order"))
    tfa, labels = method(small_net()), torch.arange(batch) % 3
    train, test, test_labels = pictures(batch, 1), pictures(batch, 2), (labels + 1) % 3
    maps = tfa.attribute(train, labels, (test, test_labels))
    permuted = tfa.attribute(
        train[order], labels[order], (test[order], test_labels[order]), internal_batch_size=size
    )
    assert_same(permuted, maps[order])


@pytest.mark.parametrize("mode", [torch.no_grad, torch.inference_mode, torch.enable_grad])
def test_callers_grad_mode_changes_nothing(mode: Callable[[], Any]) -> None:
    model = small_net()
    with mode():
        train, test = pictures(3, 1), pictures(1, 2)
        maps = TrainingGradCos(model).attribute(train, LABELS, test)
        assert not maps.requires_grad
    assert_same(maps, slow_map(SlowScore(model), pictures(3, 1), pictures(1, 2), None, LABELS))


def test_callers_autocast_does_not_make_maps_of_rounding_errors() -> None:
    model, train, test = small_net().float(), pictures(3, 1).float(), pictures(1, 2).float()
    tfa = TrainingGradCos(model)
    plain = tfa.attribute(train, LABELS, test)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        maps = tfa.attribute(train, LABELS, test)
    assert maps.dtype == torch.float32
    torch.testing.assert_close(maps, plain, rtol=1e-4, atol=1e-7)


def test_callers_tensors_stay_as_they_are() -> None:
    train, test = pictures(3, 1).requires_grad_(), pictures(1, 2).requires_grad_()
    contents = train.tolist(), test.tolist()
    maps = TrainingGradCos(small_net()).attribute(train, LABELS, test)
    assert not maps.requires_grad
    assert train.grad is None
    assert test.grad is None
    assert train.is_leaf
    assert (train.tolist(), test.tolist()) == contents


def _fitted() -> tuple[nn.Module, Tensor, Tensor]:
    """A regression in whole numbers, three training points, and labels; the second is fitted."""
    model = nn.Linear(2, 1, bias=False).double()
    nn.init.constant_(model.weight, 2)
    train = torch.tensor([[1.0, 2.0], [3.0, -1.0], [0.0, 1.0]]).double()
    return model, train, torch.tensor([[1.0], [4.0], [3.0]]).double()


def test_perfectly_fitted_training_example_has_a_grad_cos_map_of_zeros_and_one_warning() -> None:
    model, train, labels = _fitted()
    test_side = torch.tensor([[1.0, 1.0]]).double(), torch.tensor([[3.0]]).double()
    tfa = TrainingGradCos(model, nn.MSELoss(reduction="none"))
    with pytest.warns(ZeroGradientWarning, match="training example") as caught:
        maps = tfa.attribute(train, labels, test_side, internal_batch_size=1)
    assert len(caught) == 1
    with warnings.catch_warnings():
        warnings.simplefilter("error", ZeroGradientWarning)
        tfa.attribute(train, labels, test_side)
    assert maps[1].tolist() == [0, 0]
    slow = SlowScore(model, nn.MSELoss(reduction="none"))
    assert_same(maps[::2], slow_map(slow, train[::2], *test_side, labels[::2]))


def test_perfectly_fitted_test_example_has_maps_of_zeros() -> None:
    model, train, labels = _fitted()
    tfa = TrainingGradCos(model, nn.MSELoss(reduction="none"))
    with pytest.warns(ZeroGradientWarning, match="test example"):
        maps = tfa.attribute(train[::2], labels[::2], (train[1:2], labels[1:2]))
    assert bool((maps == 0).all())


def test_grad_dot_map_of_a_perfectly_fitted_example_is_zero_beside_others() -> None:
    """The formula need not be flat where the residual is 0; the rule for zero gradients is."""
    model, train, labels = _fitted()
    test_side = torch.tensor([[1.0, 1.0]]).double(), torch.tensor([[3.0]]).double()
    loss = nn.MSELoss(reduction="none")
    residuals = (model(train) - labels).abs().flatten().detach()
    with pytest.warns(ZeroGradientWarning):
        maps = TrainingGradDot(model, loss).attribute(train, labels, test_side)
    expected = slow_map(SlowScore(model, loss, formula=dot), train, *test_side, labels)
    expected[residuals == 0] = 0
    assert_same(maps, expected)
