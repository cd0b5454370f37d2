"""Memory is bounded by the number of rows that one forward pass of the model sees."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from captum.attr import IntegratedGradients, NoiseTunnel
from torch import Tensor, nn

from captum_tfa import LayerTrainingGradCos, TrainingGradCos
from captum_tfa.gradients import memory
from tests.attr.small_nets import drawn, made, pictures, small_net


def _passes(model: nn.Module) -> list[int]:
    """The rows of each forward pass that fires the user's hooks, from now on."""
    rows: list[int] = []
    model.register_forward_pre_hook(lambda _, inputs: rows.append(len(inputs[0])))
    return rows


def _pixels(model: Any) -> TrainingGradCos:
    return TrainingGradCos(model)


def _layer(model: Any) -> LayerTrainingGradCos:
    return LayerTrainingGradCos(model, model.conv2)


METHODS = pytest.mark.parametrize("make", [_pixels, _layer])


@METHODS
@pytest.mark.parametrize("size", [1, 3, 7, 50])
def test_internal_batch_size_bounds_the_rows_of_a_pass(make: Any, size: int) -> None:
    model = small_net()
    rows = _passes(model)
    make(model).attribute(pictures(7, 1), 1, pictures(1, 2), internal_batch_size=size)
    assert max(rows) == min(size, 7)
    assert sum(rows) == 7


@METHODS
def test_without_internal_batch_size_the_first_pass_takes_as_many_rows_as_fit(make: Any) -> None:
    """The gradient of the test image has shown how much memory a row takes."""
    model = small_net()
    rows = _passes(model)
    make(model).attribute(pictures(100, 1), 1, pictures(1, 2))
    assert rows == [64, 36]


@METHODS
def test_little_memory_makes_small_passes(make: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    model = small_net()
    rows = _passes(model)
    expected = make(model).attribute(pictures(9, 1), 1, pictures(1, 2))
    assert rows == [9]
    monkeypatch.setattr(memory, "_BYTES_WITH_GRAPH_ON_CPU", 0)
    maps = make(model).attribute(pictures(9, 1), 1, pictures(1, 2))
    assert rows == [9] + [1] * 9
    torch.testing.assert_close(maps, expected)


@METHODS
def test_noise_samples_at_once_are_worked_on_in_chunks(make: Any) -> None:
    model = small_net()
    rows = _passes(model)
    NoiseTunnel(make(model)).attribute(
        pictures(1, 1),
        nt_samples=10,
        stdevs=0.1,
        target=1,
        additional_forward_args=pictures(1, 2),
        internal_batch_size=4,
    )
    assert rows == [4, 4, 2]


def test_integration_steps_over_the_score_are_bounded_by_captums_own_argument() -> None:
    model = small_net()
    rows = _passes(model)
    IntegratedGradients(TrainingGradCos(model).forward_func).attribute(
        pictures(2, 1),
        n_steps=6,
        internal_batch_size=4,
        additional_forward_args=(pictures(1, 2), 1, torch.tensor([0, 2])),
    )
    assert max(rows) == 4
    assert sum(rows) == 12


class _Positions(nn.Module):
    """A small network makes a bias of positions: it sees no example, and so serves them all."""

    def __init__(self) -> None:
        super().__init__()
        self.biases = nn.Linear(2, 6)
        self.register_buffer("grid", torch.linspace(-1, 1, 2))
        self.out = nn.Linear(6, 3)

    def forward(self, input: Tensor) -> Tensor:
        return self.out((input + self.biases(self.grid)).tanh())


def test_models_that_cost_a_pass_for_each_example_stay_at_one_image_at_a_time() -> None:
    """The test image makes that likely, two images show it, and it is remembered."""
    model = made(_Positions())
    rows = _passes(model)
    tfa = TrainingGradCos(model)
    for _ in range(2):
        tfa.attribute(drawn(9, 1, 6), target=1, additional_forward_args=drawn(1, 2, 6))
    assert rows == [2] + [1] * 7 + [1] * 9
