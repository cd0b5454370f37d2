"""A test gradient is found once a call of a wrapper, and never outlives it."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from typing import Any

import pytest
import torch
from captum.attr import NoiseTunnel
from torch import Tensor, nn

from captum_tfa import (
    EnsembleScore,
    GradCosScore,
    GradDotScore,
    LayerTrainingGradCos,
    TrainingGradCos,
    TrainingGradient,
)
from captum_tfa.attr import kept_tests
from captum_tfa.gradients import GradientEngine
from tests.attr.small_nets import PictureAndNumbers, drawn, made, pictures, small_net

TRAIN, TEST = pictures(1, 1), pictures(1, 2)


@pytest.fixture
def computed(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[int]]:
    """How many test gradients each pass computed, from now on."""
    passes: list[int] = []
    of_tests = GradientEngine.of_tests

    def counting(engine: GradientEngine, inputs: Any, target: Any) -> Any:
        passes.append(len(inputs[0]))
        return of_tests(engine, inputs, target)

    monkeypatch.setattr(GradientEngine, "of_tests", counting)
    yield passes
    gc.collect()
    assert not kept_tests._kept


def _smooth(tfa: Any, test: Any, samples: int, at_once: int | None) -> Tensor:
    torch.manual_seed(0)
    found: Tensor = NoiseTunnel(tfa).attribute(
        TRAIN,
        nt_samples=samples,
        nt_samples_batch_size=at_once,
        stdevs=0.1,
        target=1,
        additional_forward_args=test,
    )
    return found


def _layer(model: Any) -> LayerTrainingGradCos:
    return LayerTrainingGradCos(model, model.conv2)


@pytest.mark.parametrize("make", [TrainingGradCos, _layer])
@pytest.mark.parametrize("labels", [(), (2,), (torch.tensor([2]),)], ids=repr)
def test_parts_of_one_noise_tunnel_share_the_test_gradient(
    make: Any, labels: tuple[Any, ...], computed: list[int]
) -> None:
    model = small_net()
    noisy: list[Tensor] = []
    handle = model.register_forward_pre_hook(lambda _, inputs: noisy.append(inputs[0].detach()))
    tfa = make(model)
    in_parts = _smooth(tfa, (TEST, *labels), 6, 2)
    handle.remove()
    assert computed == [1]
    assert list(map(len, noisy)) == [2, 2, 2]
    alone = [tfa.attribute(one[None], 1, (TEST, *labels)) for one in torch.cat(noisy)]
    torch.testing.assert_close(in_parts, torch.cat(alone).mean(0, keepdim=True))


def test_each_call_of_the_users_computes_it_again(computed: list[int]) -> None:
    model = small_net()
    tfa = TrainingGradCos(model)
    before = _smooth(tfa, (TEST, 2), 4, 2)
    with torch.no_grad():
        model.fc.weight.data.neg_()
    after = _smooth(tfa, (TEST, 2), 4, 2)
    assert computed == [1, 1]
    torch.testing.assert_close(after, _smooth(TrainingGradCos(model), (TEST, 2), 4, 4))
    assert not torch.allclose(after, before)
    tfa.attribute(TRAIN, 1, (TEST, 2))
    tfa.attribute(TRAIN, 1, (TEST, 2))
    assert computed == [1, 1, 1, 1, 1]


def test_samples_that_are_left_over_and_other_labels_make_tests_of_their_own(
    computed: list[int],
) -> None:
    tfa = TrainingGradCos(small_net())
    _smooth(tfa, (TEST, 2), 5, 2)
    assert computed == [1, 1]


def test_several_tests_of_one_image_share_theirs_too(computed: list[int]) -> None:
    tfa, tests = TrainingGradCos(small_net()), pictures(3, 2)
    labels = torch.tensor([0, 1, 2])
    together = _smooth(tfa, (tests, labels), 4, 2)
    assert computed == [1, 2] or computed == [3]
    apart = [_smooth(tfa, (tests[[row]], row), 4, 2) for row in range(3)]
    torch.testing.assert_close(together, torch.cat(apart))


def test_parts_of_a_sum_of_scores_keep_their_own(computed: list[int]) -> None:
    one, other = small_net(), small_net()
    with torch.no_grad():
        other.fc.weight.neg_()
    score = EnsembleScore([GradCosScore(one), GradDotScore(other)])
    found = _smooth(TrainingGradient(score), (TEST, 2), 4, 2)
    parts = [
        _smooth(TrainingGradient(part), (TEST, 2), 4, 2)
        for part in (GradCosScore(one), GradDotScore(other))
    ]
    torch.testing.assert_close(found, sum(parts) / 2)


def test_what_a_wrapper_only_hands_on_is_not_kept(computed: list[int]) -> None:
    """The tensors of a model with several inputs are the user's own, and may outlive the call."""
    model: nn.Module = made(PictureAndNumbers())
    tfa = TrainingGradCos(model)
    train, test = ((drawn(1, seed, 1, 4, 4), drawn(1, seed + 1, 3)) for seed in (1, 3))
    NoiseTunnel(tfa).attribute(
        train,
        nt_samples=4,
        nt_samples_batch_size=2,
        stdevs=0.1,
        target=1,
        additional_forward_args=(test, 0),
    )
    assert computed == [1, 1]
