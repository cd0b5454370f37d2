"""Captum methods that rewrite gradients would change the score itself: refused, without a trace."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from captum.attr import (
    LRP,
    Deconvolution,
    DeepLift,
    DeepLiftShap,
    GuidedBackprop,
    GuidedGradCam,
    LayerDeepLift,
    NeuronGuidedBackprop,
    NoiseTunnel,
    Saliency,
)
from torch import nn

from captum_tfa import GradCosScore, GradDotScore
from tests.attr.comparing import assert_same, hooks_of
from tests.attr.small_nets import LABELS, drawn, made, pictures, small_net
from tests.oracle import SlowScore, slow_map

TRAIN = pictures(3, 1)
SIDE = {"additional_forward_args": (pictures(1, 2), torch.tensor([1]), LABELS)}

METHODS: dict[str, Callable[[nn.Module], Any]] = {
    "GuidedBackprop": lambda score: GuidedBackprop(score).attribute(TRAIN, **SIDE),
    "Deconvolution": lambda score: Deconvolution(score).attribute(TRAIN, **SIDE),
    "DeepLift": lambda score: DeepLift(score).attribute(TRAIN, **SIDE),
    "DeepLiftShap": lambda score: DeepLiftShap(score).attribute(TRAIN, 0 * TRAIN[:2], **SIDE),
    "GuidedGradCam": lambda score: GuidedGradCam(score, score.model.conv2).attribute(TRAIN, **SIDE),
    "LayerDeepLift": lambda score: LayerDeepLift(score, score.model.conv2).attribute(TRAIN, **SIDE),
    "NeuronGuidedBackprop": lambda score: NeuronGuidedBackprop(score, score.model.conv2).attribute(
        TRAIN, (0, 0, 0), **SIDE
    ),
    "NoiseTunnel(GuidedBackprop)": lambda score: NoiseTunnel(GuidedBackprop(score)).attribute(
        TRAIN, nt_samples=2, **SIDE
    ),
}


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("score_class", [GradCosScore, GradDotScore])
@pytest.mark.parametrize("name", METHODS)
def test_method_is_refused_with_the_reason_and_leaves_no_hook(
    name: str, score_class: type[GradCosScore] | type[GradDotScore]
) -> None:
    score = score_class(small_net())
    before = hooks_of(score)
    with pytest.raises(RuntimeError, match=r"rewrite the gradients.*Use Saliency, InputXGradient"):
        METHODS[name](score)
    assert hooks_of(score) == before


@pytest.mark.filterwarnings("ignore")
def test_lrp_is_refused_with_the_reason_and_leaves_no_hook() -> None:
    score = GradCosScore(made(nn.Sequential(nn.Linear(6, 5), nn.ReLU(), nn.Linear(5, 3))))
    before = hooks_of(score)
    with pytest.raises(RuntimeError, match=r"LRP cannot attribute a score.*Use Saliency"):
        LRP(score).attribute(
            drawn(3, 1, 6),
            additional_forward_args=(drawn(1, 2, 6), torch.tensor([1]), LABELS),
        )
    assert hooks_of(score) == before
    assert not any(hasattr(module, "rule") for module in score.modules())


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", METHODS)
def test_score_works_after_a_refusal(name: str) -> None:
    score = GradCosScore(small_net())
    with pytest.raises(RuntimeError):
        METHODS[name](score)
    maps = Saliency(score).attribute(TRAIN, abs=False, **SIDE)
    assert_same(maps, slow_map(SlowScore(score.model), TRAIN, pictures(1, 2), 1, LABELS))


@pytest.mark.filterwarnings("ignore")
def test_method_still_works_on_the_model_itself() -> None:
    """The refusal is the score's, not a change of the model."""
    model = small_net()
    score = GradCosScore(model)
    with pytest.raises(RuntimeError):
        METHODS["GuidedBackprop"](score)
    guided = GuidedBackprop(model).attribute(TRAIN, target=LABELS)
    assert_same(guided, GuidedBackprop(small_net()).attribute(TRAIN, target=LABELS))


def test_hooks_of_the_user_are_no_reason_to_refuse() -> None:
    model = small_net()
    seen: list[int] = []
    model.relu.register_forward_hook(lambda *_: seen.append(1))
    model.gelu.register_full_backward_hook(lambda *_: None)
    scores = GradCosScore(model)(TRAIN, pictures(1, 2), 1, LABELS)
    assert seen == [1]
    assert_same(scores.detach(), SlowScore(small_net())(TRAIN, pictures(1, 2), 1, LABELS).detach())
