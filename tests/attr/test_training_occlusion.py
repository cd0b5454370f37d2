"""Occlusion is Captum's of the slow score."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from captum.attr import NoiseTunnel, Occlusion, PerturbationAttribution
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from captum_tfa import GradCosScore, GradDotScore, TracInScore, TrainingOcclusion
from captum_tfa.gradients import StoredGradients
from captum_tfa.scores import Score
from tests.attr.comparing import assert_same
from tests.attr.small_nets import LABELS, PictureAndNumbers, drawn, made, pictures, small_net
from tests.oracle import SlowScore, cos, dot

START = pictures(1, 9) / 4


@pytest.mark.parametrize(("score", "cosine"), [(GradCosScore, True), (GradDotScore, False)])
@settings(max_examples=6, deadline=None)
@given(
    window=st.tuples(st.integers(1, 2), st.integers(1, 6), st.integers(1, 6)),
    stride=st.integers(1, 3),
    at_once=st.integers(1, 7),
)
def test_it_is_captums_of_the_slow_score(
    score: type[Score], cosine: bool, window: tuple[int, int, int], stride: int, at_once: int
) -> None:
    model, train, tests = small_net(), pictures(2, 1), pictures(2, 2)
    labels = LABELS[:2]
    strides = tuple(min(stride, side) for side in window)
    found = TrainingOcclusion(score(model)).attribute(
        train, START, labels, (tests, labels), window, strides, internal_batch_size=at_once
    )
    expected = Occlusion(SlowScore(model, formula=cos if cosine else dot)).attribute(
        train, window, strides, START, additional_forward_args=(tests, labels, labels)
    )
    assert_same(found, expected)


def test_windows_are_a_quarter_of_the_shorter_side_and_overlap_by_half() -> None:
    model = nn.Sequential(nn.Flatten(), nn.Linear(2 * 16 * 8, 3)).double().eval()
    train, test = drawn(1, 1, 2, 16, 8), drawn(1, 2, 2, 16, 8)
    method = TrainingOcclusion(GradCosScore(model))
    found = method.attribute(train, 0.1, 0, (test, 1))
    assert_same(found, method.attribute(train, 0.1, 0, (test, 1), (2, 2, 2), (2, 1, 1)))


def test_several_tests_of_one_image_have_a_row_each() -> None:
    model, train, tests = small_net(), pictures(1, 1), pictures(3, 2)
    method = TrainingOcclusion(GradCosScore(model))
    found = method.attribute(train, START, 0, (tests, LABELS))
    alone = [method.attribute(train, START, 0, (tests[[row]], LABELS[[row]])) for row in range(3)]
    assert_same(found, torch.cat(alone))


def test_two_inputs_have_a_window_each() -> None:
    model = made(PictureAndNumbers())
    train, test = (drawn(2, 1, 1, 4, 4), drawn(2, 3, 3)), (drawn(1, 2, 1, 4, 4), drawn(1, 4, 3))
    labels = torch.tensor([0, 2])
    windows, strides = ((1, 2, 2), (2,)), ((1, 1, 1), (1,))
    found = TrainingOcclusion(GradCosScore(model)).attribute(
        train, (0.5, None), labels, (test, 1), windows, strides
    )

    def of_pair(picture: Tensor, numbers: Tensor) -> Tensor:
        scores: Tensor = SlowScore(model)((picture, numbers), test, 1, labels)
        return scores

    expected = Occlusion(of_pair).attribute(train, windows, strides, (0.5, 0.0))
    assert_same(found, expected)


def test_without_labels_the_uncovered_image_says_which() -> None:
    model, train, test = small_net(), pictures(3, 1), pictures(1, 2)
    start = -9 * train  # changes what a covered image is called
    with torch.no_grad():
        labels = model(train).argmax(1)
        assert (model(start).argmax(1) != labels).any()
    method = TrainingOcclusion(GradCosScore(model))
    found = method.attribute(train, start, additional_forward_args=(test, 1))
    assert_same(found, method.attribute(train, start, labels, (test, 1)))


def test_noise_tunnel_takes_the_mean_over_noisy_copies() -> None:
    model, train, test = small_net(), pictures(1, 1), pictures(1, 2)
    method = TrainingOcclusion(GradCosScore(model))
    torch.manual_seed(3)
    given = NoiseTunnel(method).attribute(
        train, nt_samples=3, stdevs=0.2, target=0, additional_forward_args=test
    )
    torch.manual_seed(3)
    copies = train + torch.normal(0, torch.full((3, *train.shape[1:]), 0.2))
    expected = method.attribute(copies, target=0, additional_forward_args=test)
    assert_same(given, expected.mean(0, keepdim=True))


@pytest.mark.parametrize("at_once", [0, -1, 1.5])
def test_at_least_one_covered_image_is_worked_on(at_once: Any) -> None:
    method = TrainingOcclusion(GradCosScore(small_net()))
    assert isinstance(method, PerturbationAttribution)
    with pytest.raises(ValueError, match=f"internal_batch_size is {at_once}; it must be at least"):
        method.attribute(pictures(1, 1), 0, 0, pictures(1, 2), internal_batch_size=at_once)


def test_windows_must_be_given_where_none_follows() -> None:
    model = made(PictureAndNumbers())
    train, test = (drawn(1, 1, 1, 4, 4), drawn(1, 3, 3)), (drawn(1, 2, 1, 4, 4), drawn(1, 4, 3))
    with pytest.raises(ValueError, match=r"\[1, 1, 4, 4\], \[1, 3\]; sliding_window_shapes can be"):
        TrainingOcclusion(GradCosScore(model)).attribute(train, 0, 0, (test, 1))
    with pytest.raises(TypeError, match="score is a Linear"):
        TrainingOcclusion(nn.Linear(1, 1))  # type: ignore[arg-type]


def test_the_gradient_of_a_test_is_prepared_once_however_many_windows() -> None:
    prepared = []

    class Counted(GradDotScore):
        def prepared(self, tests: StoredGradients) -> StoredGradients:
            prepared.append(len(tests.squares))
            return super().prepared(tests)

    method = TrainingOcclusion(Counted(small_net()))
    tests = pictures(3, 2)
    method.attribute(pictures(1, 1), START, 0, (tests, LABELS), (2, 2, 2), internal_batch_size=1)
    assert prepared == [1, 1, 1]


def test_of_a_sum_of_scores_it_is_the_sum_of_those_of_the_parts() -> None:
    model, train, tests = small_net(), pictures(2, 1), pictures(2, 2)
    states = [
        {name: (1 + 0.1 * number) * value for name, value in model.state_dict().items()}
        for number in range(3)
    ]
    rates = [0.1, 0.2, 0.3]
    arguments = (train, START, None, (tests, LABELS[:2], LABELS[1:3]), (2, 2, 2))
    found = TrainingOcclusion(TracInScore(model, states, rates)).attribute(
        *arguments, internal_batch_size=3
    )
    parts = []
    for state, rate in zip(states, rates, strict=True):
        other = small_net()
        other.load_state_dict(state)
        parts.append(rate * TrainingOcclusion(GradDotScore(other)).attribute(*arguments))
    assert_same(found, parts[0] + parts[1] + parts[2])
