"""Captum's own methods on a score, unchanged, against the same methods on a slow score."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from captum.attr import (
    FeatureAblation,
    FeaturePermutation,
    GradientShap,
    InputXGradient,
    IntegratedGradients,
    KernelShap,
    Lime,
    NoiseTunnel,
    Occlusion,
    Saliency,
    ShapleyValueSampling,
)
from captum.metrics import infidelity, sensitivity_max
from torch import Tensor, nn

from captum_tfa import GradCosScore, GradDotScore, TrainingGradCos
from tests.attr.comparing import assert_same
from tests.attr.small_nets import LABELS, pictures, small_net
from tests.oracle import SlowScore, cos, dot

TRAIN, TEST = pictures(3, 1), pictures(1, 2)
QUARTERS = torch.arange(4).reshape(1, 1, 2, 2).repeat(1, 2, 1, 1)
QUARTERS = QUARTERS.repeat_interleave(3, 2).repeat_interleave(3, 3)
"""A feature mask of four features for an image of 6 x 6 pixels."""

OURS = (TEST, torch.tensor([1]), LABELS)
SLOW = (TEST.repeat(3, 1, 1, 1), torch.tensor([1, 1, 1]), LABELS)
"""The test side with a row for each training image, as the slow score wants it."""

Method = Callable[[nn.Module, dict[str, Any]], Any]

METHODS: dict[str, Method] = {
    "Saliency": lambda score, side: Saliency(score).attribute(TRAIN, **side),
    "Saliency, signed": lambda score, side: Saliency(score).attribute(TRAIN, abs=False, **side),
    "InputXGradient": lambda score, side: InputXGradient(score).attribute(TRAIN, **side),
    "IntegratedGradients": lambda score, side: IntegratedGradients(score).attribute(
        TRAIN, n_steps=5, **side
    ),
    "IntegratedGradients, delta": lambda score, side: IntegratedGradients(score).attribute(
        TRAIN, 0.5, n_steps=4, method="riemann_trapezoid", return_convergence_delta=True, **side
    ),
    **{
        f"IntegratedGradients, internal_batch_size {size}": lambda score, side, size=size: (
            IntegratedGradients(score).attribute(TRAIN, n_steps=5, internal_batch_size=size, **side)
        )
        for size in (3, 4, 7, 100)
    },
    "GradientShap": lambda score, side: GradientShap(score).attribute(
        TRAIN, torch.stack([0 * TRAIN[0], TRAIN[1] / 2]), n_samples=4, stdevs=0.1, **side
    ),
    "Occlusion": lambda score, side: Occlusion(score).attribute(
        TRAIN, (2, 3, 3), strides=(1, 3, 3), **side
    ),
    "Occlusion, three at once": lambda score, side: Occlusion(score).attribute(
        TRAIN, (1, 3, 3), strides=(1, 3, 3), baselines=0.3, perturbations_per_eval=3, **side
    ),
    "FeatureAblation": lambda score, side: FeatureAblation(score).attribute(
        TRAIN, feature_mask=QUARTERS, **side
    ),
    "FeatureAblation, four at once": lambda score, side: FeatureAblation(score).attribute(
        TRAIN, feature_mask=QUARTERS, perturbations_per_eval=4, **side
    ),
    "FeaturePermutation": lambda score, side: FeaturePermutation(score).attribute(
        TRAIN, feature_mask=QUARTERS, **side
    ),
    "ShapleyValueSampling": lambda score, side: ShapleyValueSampling(score).attribute(
        TRAIN, feature_mask=QUARTERS, n_samples=3, perturbations_per_eval=2, **side
    ),
    "NoiseTunnel(IntegratedGradients)": lambda score, side: NoiseTunnel(
        IntegratedGradients(score)
    ).attribute(TRAIN, nt_samples=3, stdevs=0.1, n_steps=3, **side),
}


def _seeded(method: Callable[[], Any]) -> Any:
    torch.manual_seed(7)
    np.random.seed(7)  # GradientShap draws its baselines with it
    return method()


@pytest.mark.parametrize("cosine", [True, False], ids=["grad-cos", "grad-dot"])
@pytest.mark.parametrize("name", METHODS)
def test_method_gives_the_numbers_of_the_slow_score(name: str, cosine: bool) -> None:
    model = small_net()
    score = (GradCosScore if cosine else GradDotScore)(model)
    slow = SlowScore(model, formula=cos if cosine else dot)
    given = _seeded(lambda: METHODS[name](score, {"additional_forward_args": OURS}))
    expected = _seeded(lambda: METHODS[name](slow, {"additional_forward_args": SLOW}))
    assert_same(given, expected)


@pytest.mark.parametrize("at_once", [1, 5])
@pytest.mark.parametrize("method", [KernelShap, Lime])
def test_surrogate_models_give_the_numbers_of_the_slow_score(method: Any, at_once: int) -> None:
    """They take a single training image."""
    model = small_net()

    def of(score: nn.Module) -> Tensor:
        return method(score).attribute(
            TRAIN[:1],
            feature_mask=QUARTERS,
            n_samples=12,
            perturbations_per_eval=at_once,
            additional_forward_args=(TEST, torch.tensor([1]), torch.tensor([0])),
        )

    given = _seeded(lambda: of(GradCosScore(model)))
    assert_same(given, _seeded(lambda: of(SlowScore(model))))


def test_saliency_of_the_score_is_the_size_of_the_map() -> None:
    model = small_net()
    tfa = TrainingGradCos(model)
    saliency = Saliency(tfa.forward_func).attribute(TRAIN, additional_forward_args=OURS)
    assert_same(saliency, tfa.attribute(TRAIN, LABELS, OURS[:2]).abs())


@pytest.mark.parametrize("test_target", [1, torch.tensor(1), [1], None], ids=repr)
def test_test_label_in_any_form_stands_all_repetitions(test_target: Any) -> None:
    model = small_net()
    given = IntegratedGradients(GradCosScore(model)).attribute(
        TRAIN, n_steps=3, additional_forward_args=(TEST, test_target, LABELS)
    )
    label = int(model(TEST).argmax()) if test_target is None else 1
    expected = IntegratedGradients(SlowScore(model)).attribute(
        TRAIN,
        n_steps=3,
        additional_forward_args=(SLOW[0], torch.tensor([label] * 3), LABELS),
    )
    assert_same(given, expected)


def test_captums_metrics_take_maps_and_scores() -> None:
    """Infidelity of a map to its score, and its sensitivity to small changes of the image."""
    model = small_net()

    def of(score: nn.Module, side: tuple[Tensor, ...]) -> tuple[Tensor, Tensor]:
        saliency = Saliency(score)
        maps = saliency.attribute(TRAIN, abs=False, additional_forward_args=side)
        unfaithful = infidelity(
            score,
            lambda images: (noise := 0.1 * torch.randn_like(images), images - noise),
            TRAIN,
            maps,
            additional_forward_args=side,
            n_perturb_samples=3,
        )
        sensitive = sensitivity_max(
            saliency.attribute, TRAIN, n_perturb_samples=3, additional_forward_args=side
        )
        return unfaithful, sensitive

    given = _seeded(lambda: of(GradCosScore(model), OURS))
    assert_same(given, _seeded(lambda: of(SlowScore(model), SLOW)))


def test_sensitivity_of_our_own_maps() -> None:
    model = small_net()
    ours = _seeded(
        lambda: sensitivity_max(
            TrainingGradCos(model).attribute,
            TRAIN,
            n_perturb_samples=3,
            target=LABELS,
            additional_forward_args=OURS[:2],
        )
    )
    slow = _seeded(
        lambda: sensitivity_max(
            Saliency(SlowScore(model)).attribute,
            TRAIN,
            n_perturb_samples=3,
            abs=False,
            additional_forward_args=SLOW,
        )
    )
    assert_same(ours, slow)
