"""Gradient × input is the slow map times the distance from the baseline, also under noise."""

from __future__ import annotations

import pytest
import torch
from captum.attr import GradientAttribution, InputXGradient, NoiseTunnel

from captum_tfa import GradCosScore, GradDotScore, TrainingGradient, TrainingGradientXInput
from captum_tfa.scores import Score
from tests.attr.comparing import assert_same
from tests.attr.small_nets import LABELS, PictureAndNumbers, drawn, made, pictures, small_net
from tests.oracle import SlowScore, cos, dot, slow_map

START = torch.full((1, 2, 6, 6), 0.3, dtype=torch.float64)


@pytest.mark.parametrize(("score", "cosine"), [(GradCosScore, True), (GradDotScore, False)])
def test_it_is_captums_of_the_slow_score(score: type[Score], cosine: bool) -> None:
    model, train, test = small_net(), pictures(3, 1), pictures(3, 2)
    given = TrainingGradientXInput(score(model)).attribute(
        train, target=LABELS, additional_forward_args=(test, LABELS)
    )
    expected = InputXGradient(SlowScore(model, formula=cos if cosine else dot)).attribute(
        train, additional_forward_args=(test, LABELS, LABELS)
    )
    assert_same(given, expected.detach())


def test_contributions_count_from_the_baseline() -> None:
    model, train, test = small_net(), pictures(3, 1), pictures(1, 2)
    given = TrainingGradientXInput(GradCosScore(model)).attribute(train, START, LABELS, (test, 1))
    slow = slow_map(SlowScore(model), train, test, 1, LABELS)
    assert_same(given, slow * (train - START))


def test_several_tests_of_one_image_have_a_row_each() -> None:
    model, train, tests = small_net(), pictures(1, 1), pictures(3, 2)
    given = TrainingGradientXInput(GradCosScore(model)).attribute(train, START, 0, (tests, LABELS))
    slow = slow_map(SlowScore(model), train.expand(3, -1, -1, -1), tests, LABELS, 0)
    assert_same(given, slow * (train - START))


def test_two_inputs_have_a_map_each() -> None:
    model = made(PictureAndNumbers())
    train = drawn(2, 1, 1, 4, 4), drawn(2, 3, 3)
    test = drawn(1, 2, 1, 4, 4), drawn(1, 4, 3)
    given = TrainingGradientXInput(GradCosScore(model)).attribute(
        train, (0.5, None), torch.tensor([0, 2]), (test, 1)
    )
    slow = slow_map(SlowScore(model), train, test, 1, torch.tensor([0, 2]))
    assert_same(given, (slow[0] * (train[0] - 0.5), slow[1] * train[1]))


def test_noise_tunnel_gives_each_noisy_copy_its_own_distance() -> None:
    model, train, test = small_net(), pictures(1, 1), pictures(1, 2)
    torch.manual_seed(3)
    given = NoiseTunnel(TrainingGradientXInput(GradCosScore(model))).attribute(
        train, nt_samples=4, stdevs=0.2, baselines=START, target=0, additional_forward_args=test
    )
    torch.manual_seed(3)
    noise = torch.normal(0, torch.full((4, *train.shape[1:]), 0.2))
    copies = train + noise
    slow = slow_map(SlowScore(model), copies, test, None, 0)
    assert_same(given, (slow * (copies - START)).mean(0, keepdim=True))


def test_batch_size_changes_no_number() -> None:
    model, train, test = small_net(), pictures(3, 1), pictures(3, 2)
    method = TrainingGradientXInput(GradCosScore(model))
    one = method.attribute(train, START, LABELS, test, internal_batch_size=1)
    assert_same(one, method.attribute(train, START, LABELS, test))


def test_it_is_a_gradient_attribution_of_a_score() -> None:
    method = TrainingGradientXInput(GradCosScore(small_net()))
    assert isinstance(method, GradientAttribution)
    assert isinstance(method.forward_func, GradCosScore)
    with pytest.raises(TypeError, match="score is a Linear"):
        TrainingGradientXInput(torch.nn.Linear(1, 1))  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="baseline has the shape"):
        method.attribute(pictures(1, 1), pictures(2, 1), 0, pictures(1, 2))


def test_with_a_baseline_of_zero_it_is_the_map_times_the_image() -> None:
    model, train, test = small_net(), pictures(2, 1), pictures(1, 2)
    score = GradCosScore(model)
    map = TrainingGradient(score).attribute(train, LABELS[:2], test)
    assert_same(TrainingGradientXInput(score).attribute(train, None, LABELS[:2], test), map * train)
