"""Captum's NoiseTunnel around the maps: SmoothGrad and its kin, with the oracle's numbers."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from captum.attr import LayerGradientXActivation, NoiseTunnel, Saliency
from torch import Tensor, nn

from captum_tfa import (
    LayerTrainingGradCos,
    LayerTrainingGradDot,
    TrainingGradCos,
    TrainingGradDot,
)
from captum_tfa.attr.training_gradient import TrainingGradient
from tests.attr.comparing import assert_same
from tests.attr.small_nets import (
    LABELS,
    PictureAndNumbers,
    drawn,
    made,
    pictures,
    small_net,
)
from tests.oracle import SlowScore, cos, dot, slow_map

METHODS = pytest.mark.parametrize(
    ("method", "cosine"), [(TrainingGradCos, True), (TrainingGradDot, False)]
)
TYPES = pytest.mark.parametrize("nt_type", ["smoothgrad", "smoothgrad_sq", "vargrad"])


def _slow(
    slow: SlowScore, train: Tensor, test: Tensor, test_target: Any, train_target: Any, **noise: Any
) -> Any:
    """NoiseTunnel around the gradient of a slow score; all on the test side has a row for each."""
    torch.manual_seed(3)
    return NoiseTunnel(Saliency(slow)).attribute(
        train, abs=False, additional_forward_args=(test, test_target, train_target), **noise
    )


@METHODS
@TYPES
@pytest.mark.parametrize("batch_size", [None, 1, 3, 4], ids=lambda size: f"batches of {size}")
def test_one_test_image_for_several_training_images(
    method: type[TrainingGradient], cosine: bool, nt_type: str, batch_size: int | None
) -> None:
    model, train, test = small_net(), pictures(3, 1), pictures(1, 2)
    noise = {
        "nt_type": nt_type,
        "nt_samples": 4,
        "nt_samples_batch_size": batch_size,
        "stdevs": 0.2,
    }
    torch.manual_seed(3)
    maps = NoiseTunnel(method(model)).attribute(
        train, target=LABELS, additional_forward_args=(test, torch.tensor([1])), **noise
    )
    slow = SlowScore(model, formula=cos if cosine else dot)
    expected = _slow(slow, train, test.repeat(3, 1, 1, 1), torch.tensor([1, 1, 1]), LABELS, **noise)
    assert_same(maps, expected)


@METHODS
@TYPES
def test_a_test_image_for_each_training_image(
    method: type[TrainingGradient], cosine: bool, nt_type: str
) -> None:
    model, train, test = small_net(), pictures(3, 1), pictures(3, 2)
    labels = torch.tensor([1, 0, 1])
    noise = {"nt_type": nt_type, "nt_samples": 3, "nt_samples_batch_size": 2, "stdevs": 0.2}
    torch.manual_seed(3)
    maps = NoiseTunnel(method(model)).attribute(
        train, target=LABELS, additional_forward_args=(test, labels), **noise
    )
    assert_same(
        maps,
        _slow(
            SlowScore(model, formula=cos if cosine else dot), train, test, labels, LABELS, **noise
        ),
    )


@pytest.mark.parametrize("images", [1, 3])
@pytest.mark.parametrize("target", [2, [2], torch.tensor(2), torch.tensor([2])], ids=repr)
def test_one_training_label_for_all_in_every_form(images: int, target: Any) -> None:
    """Captum repeats a label tensor for its samples, but not one of a single element."""
    model, train, test = small_net(), pictures(images, 1), pictures(1, 2)
    noise = {"nt_samples": 4, "stdevs": 0.2}
    torch.manual_seed(3)
    maps = NoiseTunnel(TrainingGradCos(model)).attribute(
        train, target=target, additional_forward_args=(test, 1), **noise
    )
    expected = _slow(
        SlowScore(model),
        train,
        test.repeat(images, 1, 1, 1),
        torch.full((images,), 1),
        torch.full((images,), 2),
        **noise,
    )
    assert_same(maps, expected)


@pytest.mark.parametrize("target", [[0, 2, 1], torch.tensor([0, 2, 1])], ids=repr)
def test_training_labels_go_with_their_images(target: Any) -> None:
    model, train, test = small_net(), pictures(3, 1), pictures(3, 2)
    noise = {"nt_samples": 3, "stdevs": 0.2}
    torch.manual_seed(3)
    maps = NoiseTunnel(TrainingGradCos(model)).attribute(
        train, target=target, additional_forward_args=(test, LABELS), **noise
    )
    assert_same(maps, _slow(SlowScore(model), train, test, LABELS, LABELS, **noise))


@pytest.mark.parametrize(
    ("target", "test_target", "which"),
    [((0, 2, 1), 1, "training label"), (LABELS, [1, 0, 1], "test label")],
)
def test_labels_that_captum_does_not_repeat_are_refused_and_never_mixed_up(
    target: Any, test_target: Any, which: str
) -> None:
    """It takes a tuple for one target in many dimensions, and leaves lists on the test side."""
    with pytest.raises(ValueError, match=rf"{which}.* has 3 rows for 12 training examples"):
        NoiseTunnel(TrainingGradCos(small_net())).attribute(
            pictures(3, 1),
            nt_samples=4,
            stdevs=0.2,
            target=target,
            additional_forward_args=(pictures(3, 2), test_target),
        )


def test_missing_labels_are_predicted_for_each_noisy_copy() -> None:
    model, train, test = small_net(), pictures(2, 1), pictures(2, 2)
    noise = {"nt_samples": 4, "stdevs": 0.5}
    torch.manual_seed(3)
    maps = NoiseTunnel(TrainingGradCos(model)).attribute(
        train, additional_forward_args=test, **noise
    )
    assert_same(maps, _slow(SlowScore(model), train, test, None, None, **noise))


def test_multi_label_targets() -> None:
    model, train, test = small_net(), pictures(3, 1), pictures(3, 2)
    loss, noise = nn.BCEWithLogitsLoss(reduction="none"), {"nt_samples": 3, "stdevs": 0.2}
    labels, test_labels = torch.eye(3).double(), 1 - torch.eye(3).double()
    torch.manual_seed(3)
    maps = NoiseTunnel(TrainingGradCos(model, loss)).attribute(
        train, target=labels, additional_forward_args=(test, test_labels), **noise
    )
    assert_same(maps, _slow(SlowScore(model, loss), train, test, test_labels, labels, **noise))


@METHODS
@pytest.mark.parametrize("size", [2, 4, 8])
def test_captums_batch_size_and_ours_change_nothing(
    method: type[TrainingGradient], cosine: bool, size: int
) -> None:
    """One image: its noise is then drawn in the same order, however it is batched."""
    tunnel, train = NoiseTunnel(method(small_net())), drawn(1, 1, 2, 8, 8)[..., :6, :6]
    rest: dict[str, Any] = {
        "nt_samples": 8,
        "stdevs": 0.2,
        "target": 1,
        "additional_forward_args": (pictures(1, 2), 0),
    }
    torch.manual_seed(3)
    maps = tunnel.attribute(train, **rest)
    torch.manual_seed(3)
    assert_same(tunnel.attribute(train, nt_samples_batch_size=size, **rest), maps)
    torch.manual_seed(3)
    assert_same(tunnel.attribute(train, internal_batch_size=size, **rest), maps)


def test_model_with_two_inputs() -> None:
    """SmoothGrad is the mean of the maps at the noisy copies."""
    model = made(PictureAndNumbers())
    train = drawn(2, 1, 1, 4, 4), drawn(2, 2, 3)
    test = drawn(1, 3, 1, 4, 4), drawn(1, 4, 3)
    tunnel = NoiseTunnel(TrainingGradCos(model))
    torch.manual_seed(3)
    maps = tunnel.attribute(
        train,
        nt_samples=4,
        stdevs=(0.1, 0.3),
        target=LABELS[:2],
        additional_forward_args=(test, 1),
    )
    torch.manual_seed(3)
    noisy = tunnel._add_noise_to_inputs(4, train, (0.1, 0.3))
    labels = LABELS[:2].repeat_interleave(4)
    of_copies = slow_map(SlowScore(model), noisy, test, 1, labels)
    assert_same(maps, tuple(part.unflatten(0, (2, 4)).mean(1) for part in of_copies))


@pytest.mark.parametrize("method", [LayerTrainingGradCos, LayerTrainingGradDot])
@TYPES
def test_layer_maps(method: Any, nt_type: str) -> None:
    """One sample after the other: a slow score takes Captum's layer methods no other way."""
    model, train, test = small_net(), pictures(1, 1), pictures(1, 2)
    noise = {"nt_type": nt_type, "nt_samples": 3, "nt_samples_batch_size": 1, "stdevs": 0.2}
    torch.manual_seed(3)
    maps = NoiseTunnel(method(model, model.conv2)).attribute(
        train, target=2, additional_forward_args=(test, 1), **noise
    )
    slow = SlowScore(model, formula=cos if method is LayerTrainingGradCos else dot)
    gradient = LayerGradientXActivation(slow, model.conv2, multiply_by_inputs=False)
    torch.manual_seed(3)
    expected = NoiseTunnel(gradient).attribute(
        train, additional_forward_args=(test, torch.tensor([1]), torch.tensor([2])), **noise
    )
    assert_same(maps, expected)


def test_layer_maps_of_several_samples_at_once() -> None:
    model, train, test = small_net(), drawn(1, 1, 2, 8, 8)[..., :6, :6], pictures(1, 2)
    tunnel = NoiseTunnel(LayerTrainingGradCos(model, model.conv2))
    rest: dict[str, Any] = {"nt_samples": 8, "target": 2, "additional_forward_args": (test, 1)}
    torch.manual_seed(3)
    at_once = tunnel.attribute(train, stdevs=0.2, **rest)
    torch.manual_seed(3)
    in_parts = tunnel.attribute(train, stdevs=0.2, nt_samples_batch_size=2, **rest)
    assert_same(at_once, in_parts)


def test_noise_of_zero_gives_the_plain_map() -> None:
    model, train, test_side = small_net(), pictures(3, 1), (pictures(1, 2), 1)
    tfa = TrainingGradCos(model)
    smooth = NoiseTunnel(tfa).attribute(
        train, nt_samples=3, stdevs=0.0, target=LABELS, additional_forward_args=test_side
    )
    assert_same(smooth, tfa.attribute(train, LABELS, test_side))


def test_test_gradient_of_all_samples_is_computed_once() -> None:
    passes: list[int] = []

    class Counting(nn.Linear):
        def forward(self, input: Tensor) -> Tensor:
            passes.append(len(input))
            return super().forward(input)

    model = made(nn.Sequential(nn.Linear(6, 4), nn.Tanh(), Counting(4, 3)))
    for samples_at_once in (None, 2):
        passes.clear()
        NoiseTunnel(TrainingGradCos(model)).attribute(
            drawn(3, 1, 6),
            nt_samples=10,
            nt_samples_batch_size=samples_at_once,
            stdevs=0.1,
            target=LABELS,
            additional_forward_args=(drawn(1, samples_at_once or 9, 6), 1),
        )
        # Also for all the calls of `attribute` that the tunnel makes.
        assert sum(passes) == 3 * 10 + 1
