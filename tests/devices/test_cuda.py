"""Scores, maps and explanations on a GPU are those of the CPU."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from captum.attr import LayerIntegratedGradients, NoiseTunnel, Occlusion
from torch import Tensor, nn
from torch.utils.data import TensorDataset

from captum_tfa import (
    GradCosScore,
    GradDotScore,
    LayerTrainingGradCos,
    ScoreInfluence,
    TrainingGradCos,
    explain,
)
from tests.oracle import NETS, relative_error, small_cnn

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")

CLOSE = 1e-8
LABELS = torch.tensor([0, 2, 1])


def _both(make: Any, compute: Any) -> None:
    """What is computed of a model and its device is the same on both devices."""
    expected, given = (compute(make().to(device), device) for device in ("cpu", "cuda"))
    assert given.device.type == "cuda"
    assert relative_error(given.cpu(), expected) < CLOSE


def _images(count: int, device: str, seed: int = 1) -> Tensor:
    draw = torch.Generator().manual_seed(seed)
    return torch.randn(count, 3, 8, 8, generator=draw, dtype=torch.float64).to(device)


def _cnn() -> nn.Module:
    torch.manual_seed(0)
    return small_cnn().double().eval()


@pytest.mark.parametrize("name", NETS)
@pytest.mark.filterwarnings("ignore:.*weight_norm. is deprecated:FutureWarning")
def test_scores_of_every_net(name: str) -> None:
    case = NETS[name]

    def scores(model: nn.Module, device: str) -> Tensor:
        train, test = (
            tuple(tensor.to(device) for tensor in case.inputs(count, seed=count))
            for count in (3, 1)
        )
        score = GradCosScore(model, output_fn=case.output_fn)
        return score(train, test, 1, LABELS.to(device)).detach()

    _both(case.model, scores)


@pytest.mark.parametrize("size", [None, 1, 2])
def test_pixel_maps(size: int | None) -> None:
    def maps(model: nn.Module, device: str) -> Tensor:
        tfa = TrainingGradCos(model)
        labels = LABELS.to(device)
        given = tfa.attribute(
            _images(3, device), labels, (_images(1, device, 2), 1), internal_batch_size=size
        )
        assert isinstance(given, Tensor)
        return given

    _both(_cnn, maps)


def test_smooth_maps_without_noise_and_maps_for_several_tests() -> None:
    def maps(model: nn.Module, device: str) -> Tensor:
        return NoiseTunnel(TrainingGradCos(model)).attribute(
            _images(1, device),
            nt_samples=4,
            stdevs=0.0,
            target=0,
            additional_forward_args=(_images(2, device, 2), LABELS[:2].to(device)),
        )

    _both(_cnn, maps)


def test_layer_maps() -> None:
    def maps(model: Any, device: str) -> Tensor:
        given = LayerTrainingGradCos(model, model[0]).attribute(
            _images(3, device), LABELS.to(device), (_images(1, device, 2), 1)
        )
        assert isinstance(given, Tensor)
        return given

    _both(_cnn, maps)


@pytest.mark.parametrize("of_layer", [False, True])
def test_captums_methods_on_a_score(of_layer: bool) -> None:
    def maps(model: Any, device: str) -> Tensor:
        score, side = GradCosScore(model), (_images(1, device, 2), 1, LABELS.to(device))
        if of_layer:
            method = LayerIntegratedGradients(score, model[0])
            found = method.attribute(_images(3, device), additional_forward_args=side, n_steps=4)
        else:
            found = Occlusion(score).attribute(
                _images(3, device), (3, 4, 4), (3, 4, 4), additional_forward_args=side
            )
        assert isinstance(found, Tensor)
        return found.detach()

    _both(_cnn, maps)


@pytest.mark.parametrize("kind", [GradCosScore, GradDotScore])
def test_rankings(kind: Any) -> None:
    pairs = [(image, index % 3) for index, image in enumerate(_images(7, "cpu"))]
    rankings = [
        ScoreInfluence(kind(_cnn().to(device)), pairs, batch_size=3).influence(
            (_images(2, device, 2), LABELS[:2])
        )
        for device in ("cpu", "cuda")
    ]
    assert rankings[1].device.type == "cpu"
    assert relative_error(rankings[1], rankings[0]) < CLOSE


@pytest.mark.parametrize("method", ["occlusion", "gradient_x_input"])
def test_explanations(method: str) -> None:
    data = TensorDataset(_images(9, "cpu"), torch.arange(9) % 3)
    found = [
        explain(
            _cnn().to(device),
            data,
            _images(1, "cpu", 2)[0],
            1,
            k=2,
            nt_samples=1,
            noise_level=0.0,
            method=method,
        )
        for device in ("cpu", "cuda")
    ]
    for on_cpu, on_gpu in zip(
        (*found[0].proponents, *found[0].opponents),
        (*found[1].proponents, *found[1].opponents),
        strict=True,
    ):
        assert on_gpu.index == on_cpu.index
        assert on_gpu.score == pytest.approx(on_cpu.score, rel=1e-6)
        assert relative_error(on_gpu.map, on_cpu.map) < 1e-6
        assert relative_error(on_gpu.test_map, on_cpu.test_map) < 1e-6


def test_tensors_of_another_device_are_refused() -> None:
    model = _cnn().cuda()
    with pytest.raises(ValueError, match=r"is on cpu, the model on cuda:0; move one of them"):
        TrainingGradCos(model).attribute(_images(1, "cpu"), 0, _images(1, "cuda"))


def test_random_numbers_of_the_gpu_are_left_alone() -> None:
    model = _cnn().cuda()
    before = torch.cuda.get_rng_state()
    ScoreInfluence(GradCosScore(model), [(_images(1, "cpu")[0], 0)]).influence(
        _images(1, "cuda", 2)
    )
    assert torch.equal(torch.cuda.get_rng_state(), before)
