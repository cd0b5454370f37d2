"""Comparisons with the slow oracle."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from captum_tfa import GradCosScore, GradDotScore
from captum_tfa.scores import Score
from tests.oracle.cases import CLASSES, classifier
from tests.oracle.slow_score import Inputs, SlowScore

EXACT = 1e-8
"""The relative error in float64 that counts as exact."""


def relative_error(given: Tensor, expected: Tensor) -> float:
    """``‖given − expected‖ / ‖expected‖``; infinite where shapes or numbers make no sense."""
    if given.shape != expected.shape or not bool(given.isfinite().all()):
        return float("inf")
    error, size = (float(part.detach().norm()) for part in (given - expected, expected))
    if size == 0:
        return 0.0 if error == 0 else float("inf")
    return error / size


def scores_and_maps(
    score: Score | SlowScore,
    train: Inputs,
    test: Inputs,
    test_target: Tensor | None = None,
    train_target: Tensor | None = None,
) -> tuple[Tensor, tuple[Tensor, ...]]:
    """Scores ``[B]`` and the maps of all floating point inputs, by ``S.sum().backward()``."""
    inputs = train if isinstance(train, tuple) else (train,)
    inputs = tuple(
        tensor.detach().clone().requires_grad_() if tensor.is_floating_point() else tensor
        for tensor in inputs
    )
    scores = score(inputs, test, test_target, train_target)
    wanted = tuple(tensor for tensor in inputs if tensor.requires_grad)
    return scores.detach(), torch.autograd.grad(scores.sum(), wanted)


def assert_exact(
    score: Score,
    slow: SlowScore,
    train: Inputs,
    test: Inputs,
    test_target: Tensor | None = None,
    train_target: Tensor | None = None,
    within: float = EXACT,
) -> None:
    """Scores and maps agree with the oracle's, each example of the batch by itself."""
    scores, maps = scores_and_maps(score, train, test, test_target, train_target)
    expected, expected_maps = scores_and_maps(slow, train, test, test_target, train_target)
    assert bool(expected.any()), "a test with nothing but zeros proves nothing"
    assert all(bool(right.any()) for right in expected_maps)
    assert relative_error(scores, expected) < within
    for given, right in zip(maps, expected_maps, strict=True):
        for row, (one, right_one) in enumerate(zip(given, right, strict=True)):
            assert relative_error(one, right_one) < within, f"map of example {row}"


def assert_layer_exact(layer: nn.Module, shape: Sequence[int], batch: int) -> None:
    """Grad-cos, its maps, grad-dot and rankings are exact for a net around this layer.

    Inner products and norms are looked at one by one too, so that errors cannot cancel. Test
    examples come one for each training example, one for all of them, and each for each.
    """
    model = classifier(layer, shape)
    train, test = torch.randn(2, batch, *shape, dtype=torch.float64)
    labels, test_labels = torch.arange(batch) % CLASSES, (torch.arange(batch) + 1) % CLASSES
    slow = SlowScore(model)
    assert_exact(GradCosScore(model), slow, train, test, test_labels, labels)
    of_train, of_test = (
        torch.stack(
            [
                torch.cat([part.flatten() for part in slow.gradient((one[None],), label[None])])
                for one, label in zip(*examples, strict=True)
            ]
        ).detach()
        for examples in ((train, labels), (test, test_labels))
    )
    table = of_train @ of_test.T
    dot = GradDotScore(model)
    assert relative_error(dot(train, test[:1], test_labels[:1], labels), table[:, 0]) < EXACT
    tests = dot.test_gradients(test, test_labels)
    assert relative_error(dot.against(train, labels, tests), table) < EXACT
    assert relative_error(tests.squares, of_test.square().sum(1)) < EXACT
    assert relative_error(dot.of_itself(train, labels), of_train.square().sum(1)) < EXACT
