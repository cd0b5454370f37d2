"""The mean over noisy copies, against the oracle's maps of copies made by hand."""

from __future__ import annotations

import pytest
import torch
from captum.attr import NoiseTunnel, Saliency
from torch import Tensor

from captum_tfa import (
    GradCosScore,
    LayerTrainingGradCos,
    SmoothGrad,
    TrainingGradCos,
    TrainingGradDot,
    TrainingGradientXInput,
)
from captum_tfa.attr import noisy_copies
from tests.attr.comparing import assert_same
from tests.attr.small_nets import LABELS, pictures, small_net
from tests.oracle import SlowScore, cos, dot, slow_map

LEVEL, COPIES, SEED = 0.2, 3, 5


def _slow(model: torch.nn.Module, train: Tensor, test: Tensor, cosine: bool = True) -> Tensor:
    """The oracle's mean map of each training image, for one test image."""
    slow = SlowScore(model, formula=cos if cosine else dot)
    means = []
    for row in range(len(train)):
        copies = noisy_copies(train[row : row + 1], COPIES, LEVEL, SEED)
        maps = [slow_map(slow, copies[[k]], test, LABELS[:1], LABELS[[row]]) for k in range(COPIES)]
        means.append(torch.cat(maps).mean(0))
    return torch.stack(means)


@pytest.mark.parametrize(("method", "cosine"), [(TrainingGradCos, True), (TrainingGradDot, False)])
def test_the_mean_of_the_maps_of_copies(method: type, cosine: bool) -> None:
    model, train, test = small_net(), pictures(3, 1), pictures(1, 2)
    found = SmoothGrad(method(model)).attribute(
        train, LABELS[:3], (test, LABELS[:1]), COPIES, LEVEL, SEED
    )
    assert_same(found, _slow(model, train, test, cosine))


def test_rows_go_with_rows() -> None:
    model, train, test = small_net(), pictures(2, 1), pictures(2, 2)
    smooth = SmoothGrad(TrainingGradCos(model))
    given = (COPIES, LEVEL, SEED)
    found = smooth.attribute(train, LABELS[:2], (test, LABELS[:2]), *given)
    for row in range(2):
        side = (test[[row]], LABELS[[row]])
        alone = smooth.attribute(train[[row]], LABELS[[row]], side, *given)
        assert_same(found[[row]], alone)


def test_several_test_images_of_one_training_image() -> None:
    model, train, test = small_net(), pictures(1, 1), pictures(3, 2)
    smooth = SmoothGrad(TrainingGradCos(model))
    given = (COPIES, LEVEL, SEED)
    found = smooth.attribute(train, LABELS[:1], (test, LABELS[:3]), *given)
    for row in range(3):
        alone = smooth.attribute(train, LABELS[:1], (test[[row]], LABELS[[row]]), *given)
        assert_same(found[[row]], alone)


def test_without_noise_it_is_the_method() -> None:
    model, train, test = small_net(), pictures(2, 1), pictures(1, 2)
    tfa = TrainingGradientXInput(GradCosScore(model))
    plain = tfa.attribute(train, 0.3, LABELS[:2], (test, LABELS[:1]))
    found = SmoothGrad(tfa).attribute(
        train, LABELS[:2], (test, LABELS[:1]), noise_level=0, baselines=0.3
    )
    assert_same(found, plain)


def test_it_is_captums_noise_tunnel_with_that_deviation() -> None:
    # 64 values a picture: PyTorch draws whole blocks of numbers, so that both draw the same.
    images = pictures(1, 1).repeat(1, 2, 2, 2)[:, :, :8, :4].contiguous()
    model = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(images.numel(), 3)).double()
    model.append(torch.nn.Softplus())
    torch.manual_seed(SEED)
    expected = NoiseTunnel(Saliency(model)).attribute(
        images,
        nt_samples=4,
        stdevs=LEVEL * float(images.max() - images.min()),
        target=1,
        abs=False,
    )
    found = SmoothGrad(Saliency(model)).attribute(images, 1, None, 4, LEVEL, SEED, abs=False)
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-7)  # its noise is float32


def test_layers_have_the_mean_of_their_maps() -> None:
    model, train, test = small_net(), pictures(2, 1), pictures(1, 2)
    tfa = LayerTrainingGradCos(model, [model.conv1, model.conv2])
    found = SmoothGrad(tfa).attribute(
        train, LABELS[:2], (test, LABELS[:1]), COPIES, LEVEL, SEED, internal_batch_size=2
    )
    copies = noisy_copies(train[1:2], COPIES, LEVEL, SEED)
    by_hand = tfa.attribute(copies, LABELS[1:2], (test, LABELS[:1]))
    for maps, expected in zip(found, by_hand, strict=True):
        assert_same(maps[1], expected.mean(0))


def test_what_is_no_method_or_no_image_is_refused() -> None:
    with pytest.raises(TypeError, match="method is a GradCosScore; give a method"):
        SmoothGrad(GradCosScore(small_net()))  # type: ignore[arg-type]
    smooth = SmoothGrad(TrainingGradCos(small_net()))
    with pytest.raises(TypeError, match="inputs is a tuple; noise is added to one input"):
        smooth.attribute((pictures(1, 1),), 0, pictures(1, 2))  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="noise_level is -1"):
        smooth.attribute(pictures(1, 1), 0, pictures(1, 2), noise_level=-1)
    with pytest.raises(ValueError, match="0 noisy copies"):
        smooth.attribute(pictures(1, 1), 0, pictures(1, 2), nt_samples=0)
