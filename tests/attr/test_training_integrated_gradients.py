"""Integrated gradients are Captum's of the slow score, and sum to what the score gains."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from captum.attr import GradientAttribution, IntegratedGradients, NoiseTunnel
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from captum_tfa import (
    GradCosScore,
    GradDotScore,
    InfluenceScore,
    TrainingGradient,
    TrainingIntegratedGradients,
)
from captum_tfa.curvature import fit_curvature
from captum_tfa.scores import Score
from tests.attr.comparing import assert_same
from tests.attr.small_nets import (
    LABELS,
    PictureAndNumbers,
    Words,
    drawn,
    made,
    pictures,
    small_net,
)
from tests.oracle import EXACT, SlowScore, cos, dot, relative_error

START = pictures(1, 9) / 4


def slow(score: SlowScore, train: Any, start: Any, steps: int, side: tuple[Any, ...]) -> Any:
    """Captum's, with the points at the middles of the parts."""
    return IntegratedGradients(score).attribute(
        train, start, n_steps=steps, method="riemann_middle", additional_forward_args=side
    )


@pytest.mark.parametrize(("score", "cosine"), [(GradCosScore, True), (GradDotScore, False)])
@settings(max_examples=6, deadline=None)
@given(rows=st.integers(1, 3), steps=st.integers(2, 5), at_once=st.integers(1, 4))
def test_it_is_captums_of_the_slow_score(
    score: type[Score], cosine: bool, rows: int, steps: int, at_once: int
) -> None:
    model, train, tests = small_net(), pictures(rows, 1), pictures(rows, 2)
    labels = LABELS[:rows]
    found = TrainingIntegratedGradients(score(model)).attribute(
        train, START, labels, (tests, labels), n_steps=steps, internal_batch_size=at_once
    )
    expected = slow(
        SlowScore(model, formula=cos if cosine else dot),
        train,
        START,
        steps,
        (tests, labels, labels),
    )
    # Captum's weights of the points are float32, exact if their number is a power of two.
    assert relative_error(found, expected) < (EXACT if steps in (2, 4) else 1e-6)


def test_every_image_has_the_baseline_of_its_row() -> None:
    model, train, test = small_net(), pictures(2, 1), pictures(1, 2)
    method = TrainingIntegratedGradients(GradCosScore(model))
    starts = pictures(2, 5)
    found = method.attribute(train, starts, LABELS[:2], test, n_steps=3)
    alone = [
        method.attribute(train[[row]], starts[[row]], LABELS[[row]], test, n_steps=3)
        for row in (0, 1)
    ]
    assert_same(found, torch.cat(alone))


def test_one_point_is_the_middle_of_the_path() -> None:
    model, train, test = small_net(), pictures(1, 1), pictures(1, 2)
    score = GradCosScore(model)
    found = TrainingIntegratedGradients(score).attribute(train, START, 0, test, n_steps=1)
    middle = TrainingGradient(score).attribute((train + START) / 2, 0, test)
    assert_same(found, middle * (train - START))


def test_several_tests_of_one_image_have_a_row_each() -> None:
    model, train, tests = small_net(), pictures(1, 1), pictures(3, 2)
    method = TrainingIntegratedGradients(GradCosScore(model))
    found = method.attribute(train, START, 0, (tests, LABELS), n_steps=3)
    alone = [
        method.attribute(train, START, 0, (tests[[row]], LABELS[[row]]), n_steps=3)
        for row in range(3)
    ]
    assert_same(found, torch.cat(alone))


def test_it_sums_to_what_the_score_gains_on_the_way() -> None:
    model, train, test = small_net(), pictures(2, 1), pictures(1, 2)
    model.relu = nn.Softplus()  # smooth, so that the sum converges fast
    score = GradCosScore(model)
    found = TrainingIntegratedGradients(score).attribute(
        train, START, LABELS[:2], (test, 1), n_steps=300
    )
    with torch.no_grad():
        ends = (train, START.repeat(2, 1, 1, 1))
        after, before = (score(images, test, 1, LABELS[:2]) for images in ends)
    assert torch.allclose(found.flatten(1).sum(1), after - before, atol=1e-5)


def test_it_sums_to_the_gain_under_curvature() -> None:
    model = small_net()
    model.relu = nn.Softplus()
    seen = torch.utils.data.TensorDataset(pictures(12, 4), LABELS.repeat(4))
    curvature = fit_curvature(model, seen, kind="diagonal")
    score = InfluenceScore(model, curvature)
    train, test = pictures(1, 1), pictures(1, 2)
    found = TrainingIntegratedGradients(score).attribute(train, START, 0, (test, 1), n_steps=300)
    with torch.no_grad():
        gained = score(train, test, 1, 0) - score(START, test, 1, 0)
    assert float(found.sum()) == pytest.approx(float(gained), abs=1e-5)


def test_without_labels_the_image_itself_says_which_along_the_whole_path() -> None:
    model, train, test = small_net(), pictures(3, 1), pictures(1, 2)
    start = -3 * train  # called something else
    with torch.no_grad():
        labels = model(train).argmax(1)
        assert (model(start).argmax(1) != labels).any()
    method = TrainingIntegratedGradients(GradCosScore(model))
    found = method.attribute(train, start, additional_forward_args=(test, 1), n_steps=4)
    assert_same(found, method.attribute(train, start, labels, (test, 1), n_steps=4))


def test_words_stay_as_they_are_along_the_path() -> None:
    class Captioned(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.words, self.net = Words(), PictureAndNumbers()

        def forward(self, picture: Tensor, words: Tensor) -> Tensor:
            numbers: Tensor = self.words(words)
            out: Tensor = self.net(picture, numbers)
            return out

    model = made(Captioned())
    words = torch.tensor([[1, 2, 3, 4, 5]])
    train, test = (drawn(1, 1, 1, 4, 4), words), (drawn(1, 2, 1, 4, 4), words.flip(1))
    score = GradCosScore(model)
    found = TrainingIntegratedGradients(score).attribute(train, None, 0, (test, 1), n_steps=3)
    points = (torch.arange(3, dtype=torch.float64) + 0.5).view(-1, 1, 1, 1) / 3 * train[0]
    many = TrainingGradient(score).attribute((points, words.expand(3, -1)), 0, (test, 1))
    assert_same(found[0], many[0].mean(0, keepdim=True) * train[0])
    assert found[1].abs().max() == 0


def test_noise_tunnel_takes_the_mean_over_noisy_copies() -> None:
    model, train, test = small_net(), pictures(1, 1), pictures(1, 2)
    method = TrainingIntegratedGradients(GradCosScore(model))
    torch.manual_seed(3)
    given = NoiseTunnel(method).attribute(
        train, nt_samples=3, stdevs=0.2, target=0, additional_forward_args=test, n_steps=2
    )
    torch.manual_seed(3)
    copies = train + torch.normal(0, torch.full((3, *train.shape[1:]), 0.2))
    expected = method.attribute(copies, target=0, additional_forward_args=test, n_steps=2)
    assert_same(given, expected.mean(0, keepdim=True))


@pytest.mark.parametrize("n_steps", [0, -1, 2.5, None])
def test_a_path_has_a_whole_number_of_points(n_steps: Any) -> None:
    method = TrainingIntegratedGradients(GradCosScore(small_net()))
    assert isinstance(method, GradientAttribution)
    with pytest.raises(ValueError, match=f"n_steps is {n_steps}; it must be a whole number"):
        method.attribute(pictures(1, 1), None, 0, pictures(1, 2), n_steps=n_steps)


def test_it_takes_scores_only_and_names_a_baseline_that_does_not_fit() -> None:
    with pytest.raises(TypeError, match="score is a Linear"):
        TrainingIntegratedGradients(nn.Linear(1, 1))  # type: ignore[arg-type]
    method = TrainingIntegratedGradients(GradCosScore(small_net()))
    with pytest.raises(ValueError, match="baseline has the shape"):
        method.attribute(pictures(1, 1), pictures(2, 1), 0, pictures(1, 2))
