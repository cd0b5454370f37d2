"""Models and images that have no score are told so when they are used."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor, nn

from captum_tfa import GradCosScore
from captum_tfa.scores import Score
from tests.scores.both_scores import both_scores, small_images, small_model


@both_scores
def test_refuses_what_is_no_module(kind: type[Score]) -> None:
    with pytest.raises(TypeError, match=r"model is a function; it must be a torch\.nn\.Module"):
        kind(lambda images: images)  # type: ignore[arg-type]


@pytest.mark.parametrize("value", [math.nan, math.inf])
@both_scores
def test_gradients_that_are_not_finite_are_an_error(kind: type[Score], value: float) -> None:
    score, train, test = kind(small_model()), small_images(3), small_images(1, seed=2)
    broken = train.clone()
    broken[1, 0, 0, 0] = value
    with pytest.raises(RuntimeError, match=r"1 of 3 training examples .* not finite"):
        score(broken, test, 1, 2)
    with pytest.raises(RuntimeError, match=r"test examples .* not finite"):
        score(train, broken[1:2], 1, 2)
    with pytest.raises(RuntimeError, match=r"training examples .* not finite"):
        score.against(broken, 2, score.test_gradients(test, 1))
    with pytest.raises(RuntimeError, match=r"1 of 3 training examples .* not finite"):
        score.of_itself(broken, 2)


def test_outputs_must_belong_to_examples() -> None:
    class TwoViews(nn.Linear):
        def forward(self, input: Tensor) -> Tensor:
            return super().forward(torch.cat([input, -input]))

    images = torch.randn(2, 3)
    with pytest.raises(ValueError, match=r"made . outputs of . examples; its output's first"):
        GradCosScore(TwoViews(3, 5))(images, images)


@pytest.mark.parametrize("where", ["no_grad", "detach"])
def test_models_that_cut_the_graph_are_told_so(where: str) -> None:
    class Cut(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = nn.Linear(3, 5)

        def forward(self, input: Tensor) -> Tensor:
            if where == "no_grad":
                with torch.no_grad():
                    return self.layer(input)
            return self.layer(input).detach()

    images = torch.randn(2, 3)
    with pytest.raises(RuntimeError, match="depends on none of the chosen parameters"):
        GradCosScore(Cut())(images, images[:1], 1, 2)


def test_chosen_parameters_that_are_not_used_are_told_so() -> None:
    class Spare(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer, self.spare = nn.Linear(3, 5), nn.Linear(3, 5)

        def forward(self, input: Tensor) -> Tensor:
            return self.layer(input)

    images = torch.randn(2, 3)
    with pytest.raises(RuntimeError, match="depends on none of the chosen parameters"):
        GradCosScore(Spare(), parameters=["spare"])(images, images[:1], 1, 2)


def test_activations_overwritten_after_their_use_are_told_so() -> None:
    class Overwriting(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.second = nn.Linear(3, 3), nn.Linear(3, 5)

        def forward(self, input: Tensor) -> Tensor:
            hidden = self.first(input)
            output = self.second(hidden)
            hidden += 1
            return output + hidden.sum(1, keepdim=True)

    images = torch.randn(2, 3)
    with pytest.raises(RuntimeError, match=r"overwritten in place|modified by an inplace"):
        GradCosScore(Overwriting())(images, images[:1], 1, 2)
