"""A group's part of a score is a score of its own: parts add up, and so do their maps."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from captum.attr import IntegratedGradients
from torch import Tensor
from torch.utils.data import TensorDataset

from captum_tfa import (
    EnsembleScore,
    GradCosScore,
    GradDotScore,
    InfluenceScore,
    LayerTrainingGradient,
    TracInScore,
    TrainingGradient,
    TrainingOcclusion,
)
from captum_tfa.curvature import fit_curvature
from captum_tfa.scores import Score, other_side
from tests.attr.comparing import assert_same, left_as_found
from tests.attr.small_nets import LABELS, SmallNet, made, pictures, small_net
from tests.oracle import SlowScore
from tests.scores.test_tracin import RATES, states

TRAIN, TEST = pictures(3, 1), pictures(1, 2)
SIDE = (TEST, torch.tensor([1]))
LAYERS = ["conv1", "norm", "conv2", "fc"]


def scores() -> list[Score]:
    model = small_net()
    seen = TensorDataset(pictures(9, 4), LABELS.repeat(3))
    ggn = fit_curvature(model, seen, kind="ggn")
    models = [made(SmallNet(), seed) for seed in range(2)]
    return [
        GradDotScore(model),
        GradCosScore(model, measure_fn="margin"),
        InfluenceScore(model, fit_curvature(model, seen, kind="ekfac"), "cos"),
        InfluenceScore(model, ggn, None),
        InfluenceScore(model, ggn, "ell"),
        TracInScore(model, states(model), RATES),
        EnsembleScore([GradCosScore(each) for each in models]),
    ]


def total(score: Score, compute: Any) -> Tensor:
    found: Tensor = sum(compute(score.part_of([layer])) for layer in LAYERS)  # type: ignore[assignment]
    return found


@pytest.mark.parametrize("number", range(7))
def test_parts_and_their_maps_add_up(number: int) -> None:
    score = scores()[number]

    def value(one: Score) -> Tensor:
        return one(TRAIN, *SIDE, LABELS).detach()

    def gradient(one: Score) -> Any:
        return TrainingGradient(one).attribute(TRAIN, LABELS, SIDE)

    def turned(one: Score) -> Any:
        other = other_side(one, (TRAIN[:1], LABELS[:1]), SIDE)
        return TrainingGradient(other).attribute(*SIDE, (TRAIN[:1], LABELS[:1]))

    with left_as_found(score.model):
        for compute in (value, gradient, turned):
            assert_same(total(score, compute), compute(score))
    found = score.by_parameter(TRAIN, TEST, SIDE[1], LABELS, "layer")
    for place, layer in enumerate(LAYERS):
        assert_same(found.parts[0, :, place], value(score.part_of([layer])))


def test_map_of_a_part_is_that_of_the_double_backward_oracle() -> None:
    model = small_net()
    images = TRAIN.clone().requires_grad_()
    slow = SlowScore(model)
    of_test = [part.detach() for part in slow.gradient((TEST,), torch.tensor([1]))]
    names = [name for name, _ in model.named_parameters()]
    values = []
    for row in range(3):
        own = slow.gradient((images[row : row + 1],), LABELS[row : row + 1])
        pairs = list(zip(names, own, of_test, strict=True))
        inner = sum((a * b).sum() for name, a, b in pairs if name.startswith(("conv2", "norm")))
        norms = [sum((a * a).sum() for _, a, _ in pairs), sum((b * b).sum() for _, _, b in pairs)]
        values.append(inner / (norms[0] * norms[1]) ** 0.5)
    (expected,) = torch.autograd.grad(torch.stack(values).sum(), images)
    part = GradCosScore(model).part_of(["norm", model.conv2])
    assert_same(TrainingGradient(part).attribute(TRAIN, LABELS, SIDE), expected)
    layer = LayerTrainingGradient(part, model.norm).attribute(TRAIN, LABELS, SIDE)
    assert isinstance(layer, Tensor)
    assert layer.shape == (3, 4, 6, 6)


def test_a_part_without_a_say_has_a_map_of_zeros() -> None:
    class Half(SmallNet):
        """The last layer is of no use to the outputs."""

        def forward(self, images: Tensor) -> Tensor:
            return self.relu(self.norm(self.conv1(images))).flatten(2).mean(2)[:, :3]

    model = made(Half())
    for score in (GradDotScore(model), GradCosScore(model)):
        part = score.part_of(["fc"])
        assert not part(TRAIN, *SIDE, LABELS).any()
        map = TrainingGradient(part).attribute(TRAIN, LABELS, SIDE)
        assert isinstance(map, Tensor)
        assert map.shape == TRAIN.shape
        assert not map.any()


def test_occlusion_of_parts_adds_up() -> None:
    score = GradCosScore(small_net())

    def occluded(one: Score) -> Any:
        return TrainingOcclusion(one).attribute(TRAIN, 0.0, LABELS, SIDE, (2, 3, 3), (2, 3, 3))

    # Captum's occlusion gives float32.
    assert torch.allclose(total(score, occluded), occluded(score), atol=1e-6)


def test_captums_own_methods_take_a_part() -> None:
    part = GradCosScore(small_net()).part_of(["conv2"])
    found = IntegratedGradients(part).attribute(
        TRAIN, n_steps=3, additional_forward_args=(*SIDE, LABELS)
    )
    assert found.shape == TRAIN.shape


def test_a_part_of_a_part_and_of_what_does_not_count() -> None:
    score = GradDotScore(small_net(), parameters=["conv2", "fc"])
    inner = score.part_of(["conv2"]).part_of(["conv2.bias", "fc"])
    assert_same(
        inner(TRAIN, *SIDE, LABELS).detach(),
        score.part_of(["conv2.bias"])(TRAIN, *SIDE, LABELS).detach(),
    )
    with pytest.raises(ValueError, match="None of these parameters counts in the score"):
        score.part_of(["conv1"])
    with pytest.raises(ValueError, match="no parameter or module named 'stem'"):
        score.part_of(["stem"])
