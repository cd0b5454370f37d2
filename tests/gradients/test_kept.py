"""A tensor that was kept from an earlier pass must not stand silently for a parameter."""

from __future__ import annotations

import functools

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from captum_tfa import GradCosScore
from tests.gradients.test_as_found import LABELS, PLACES, TEST, TRAIN, _net
from tests.oracle import EXACT, SlowScore, model_state, relative_error


@PLACES
def test_a_weight_that_was_kept_without_a_graph_is_refused(place: str) -> None:
    net = _net(place)
    expected = SlowScore(net)(TRAIN, TEST, 1, LABELS)
    net.train().eval()
    with torch.no_grad():
        net(TRAIN)
    before = model_state(net)
    score = GradCosScore(net)
    with pytest.raises(RuntimeError, match=r"keeps in '0\.\w+', and not the parameter '0\.weight'"):
        score(TRAIN, TEST, 1, LABELS)
    assert model_state(net) == before
    # Both remedies of the message.
    of_rest = GradCosScore(net, parameters=["2"])(TRAIN, TEST, 1, LABELS)
    assert bool(of_rest.isfinite().all())
    net.train().eval()
    assert relative_error(score(TRAIN, TEST, 1, LABELS), expected) < EXACT


@PLACES
def test_a_weight_that_was_kept_with_its_graph_still_counts(place: str) -> None:
    net = _net(place)
    expected = SlowScore(net)(TRAIN, TEST, 1, LABELS)
    net.train().eval()
    net(TRAIN)
    for _ in range(2):
        assert relative_error(GradCosScore(net)(TRAIN, TEST, 1, LABELS), expected) < EXACT


@PLACES
def test_a_weight_whose_graph_was_freed_is_refused(place: str) -> None:
    net = _net(place)
    net(TRAIN).sum().backward()
    with pytest.raises(RuntimeError, match=r"whose graph a backward pass has freed.*train\(\)"):
        GradCosScore(net)(TRAIN, TEST, 1, LABELS)


def test_a_child_s_weight_that_its_parent_keeps_is_refused() -> None:
    class Parent(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.child, self.out = nn.Linear(4, 5, bias=False), nn.Linear(5, 3)
            self.kept: Tensor | None = None

        def forward(self, input: Tensor) -> Tensor:
            if self.kept is None:
                self.kept = self.child.weight * 2
            return self.out(F.linear(input, self.kept).tanh())

    net = Parent().double().eval()
    with torch.no_grad():
        net(TRAIN)
    with pytest.raises(RuntimeError, match=r"keeps in 'kept', and not the parameter 'child\.weig"):
        GradCosScore(net)(TRAIN, TEST, 1, LABELS)


def test_constants_beside_parameters_are_no_obstacle() -> None:
    class Standardised(nn.Module):
        """Has constants in plain attributes, and all of its parameters in use."""

        def __init__(self) -> None:
            super().__init__()
            self.mean, self.scales = torch.ones(4).double(), [torch.full((4,), 2.0).double()]
            self.weight = nn.Parameter(torch.randn(3, 4))

        def forward(self, input: Tensor) -> Tensor:
            return F.linear((input - self.mean) / self.scales[0], self.weight)

    net = Standardised().double().eval()
    expected = SlowScore(net)(TRAIN, TEST, 1, LABELS)
    assert relative_error(GradCosScore(net)(TRAIN, TEST, 1, LABELS), expected) < EXACT


def test_a_tensor_of_an_earlier_pass_of_ours_is_refused_wherever_it_was_kept() -> None:
    weight = nn.Parameter(torch.randn(3, 4).double())

    @functools.cache
    def normalised() -> Tensor:
        return F.normalize(weight)

    class Elsewhere(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.weight = weight

        def forward(self, input: Tensor) -> Tensor:
            return F.linear(input, normalised())

    net = Elsewhere().eval()
    with pytest.raises(RuntimeError, match="made of its parameters in an earlier pass and keeps"):
        GradCosScore(net)(TRAIN, TEST, 1, LABELS)  # the training pass after the test pass
