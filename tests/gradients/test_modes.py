"""The modes of autograd around a call change nothing about the numbers."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager

import pytest
import torch
from torch import Tensor

from captum_tfa import GradCosScore, TrainingGradCos
from captum_tfa.gradients import outside_inference_mode
from tests.oracle import NETS, SlowScore, relative_error, small_cnn

MODES: dict[str, Callable[[], AbstractContextManager[object]]] = {
    "no_grad": torch.no_grad,
    "inference_mode": torch.inference_mode,
    "set_grad_enabled": lambda: torch.set_grad_enabled(False),
}


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("name", ["small cnn", "raw parameters", "embedding of positions", "lstm"])
def test_scores_are_the_same_without_a_graph(name: str, mode: str) -> None:
    case = NETS[name]
    score, train, test = GradCosScore(case.model()), case.inputs(3), case.inputs(3, seed=2)
    expected = score(train, test, 1, 2)
    with MODES[mode]():
        given = GradCosScore(score.model)(train, test, 1, 2)
    assert not given.requires_grad
    assert not given.is_inference()
    torch.testing.assert_close(given, expected.detach(), rtol=1e-12, atol=0)


def test_tensors_made_in_inference_mode_are_taken() -> None:
    model = small_cnn().double().eval()
    with torch.inference_mode():
        train = torch.randn(2, 3, 8, 8, dtype=torch.float64)
        test = torch.randn(1, 3, 8, 8, dtype=torch.float64)
        labels = torch.tensor([1, 2])
    given = GradCosScore(model)(train, test, labels[:1], labels)
    expected = SlowScore(model)(train.clone(), test.clone(), 1, labels.clone())
    assert relative_error(given, expected) < 1e-8


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("name", ["small cnn", "encoder", "lstm"])
def test_autocast_around_the_call_changes_nothing(name: str, dtype: torch.dtype) -> None:
    case = NETS[name]
    model = case.model().float()
    train, test = (case.inputs(2, seed)[0].float().requires_grad_() for seed in (1, 2))
    expected = GradCosScore(model)(train, test, 1, 2)
    (expected_map,) = torch.autograd.grad(expected.sum(), train)
    with torch.autocast("cpu", dtype=dtype):
        given = GradCosScore(model)(train, test, 1, 2)
        tests = GradCosScore(model).test_gradients(test, 1)
        ranked = GradCosScore(model).against(train, 2, tests)
    (given_map,) = torch.autograd.grad(given.sum(), train)
    assert given.dtype == torch.float32
    # Rounding may differ, by other groupings of the sums; half precision is wrong by 1e-3.
    for one, right in ((given, expected), (given_map, expected_map), (ranked.diag(), expected)):
        assert relative_error(one, right.detach()) < 1e-5


def test_maps_made_under_autocast_are_the_same() -> None:
    case = NETS["small cnn"]
    method = TrainingGradCos(case.model().float())
    train, test = (case.inputs(2, seed)[0].float() for seed in (1, 2))
    expected = method.attribute(train, target=2, additional_forward_args=(test, 1))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        given = method.attribute(train, target=2, additional_forward_args=(test, 1))
    assert relative_error(given, expected) < 1e-5


def test_outside_inference_mode_hands_everything_on() -> None:
    @outside_inference_mode
    def both(first: Tensor, second: int = 1) -> tuple[Tensor, bool]:
        """What is done."""
        return first * second, torch.is_grad_enabled()

    assert both.__doc__ == "What is done."
    one = torch.ones(1, requires_grad=True)
    assert both(one, second=3) == (torch.tensor([3.0]), True)
    with torch.inference_mode():
        product, with_gradients = both(one, 2)
        assert torch.is_inference_mode_enabled()
    assert not with_gradients
    assert not product.is_inference()
    assert not product.requires_grad


def test_an_exception_leaves_the_callers_mode() -> None:
    @outside_inference_mode
    def failing() -> None:
        raise KeyError

    with torch.inference_mode():
        with pytest.raises(KeyError):
            failing()
        assert torch.is_inference_mode_enabled()
