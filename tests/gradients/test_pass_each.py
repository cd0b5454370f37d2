"""What costs a pass for each example is told once, by name, with what to do about it."""

from __future__ import annotations

import warnings
from typing import Any

import pytest
import torch
from captum.attr import NoiseTunnel
from torch import Tensor, nn

from captum_tfa import (
    GradCosScore,
    GradDotScore,
    PassForEachExampleWarning,
    TrainingGradCos,
    validate,
)
from captum_tfa.gradients.pass_each import tell_once
from tests.oracle import SlowScore, assert_exact, small_cnn


class Recurrent(nn.Module):
    """A recurrent layer before a linear one."""

    def __init__(self) -> None:
        super().__init__()
        self.recurrent = nn.LSTM(4, 3, batch_first=True)
        self.head = nn.Linear(3, 5)

    def forward(self, input: Tensor) -> Tensor:
        return self.head(self.recurrent(input)[0][:, -1])


class WithTable(nn.Module):
    """Attention with a bias for each relative position, looked up in a table as Swin does."""

    def __init__(self) -> None:
        super().__init__()
        self.bias_table = nn.Parameter(torch.randn(5, 1))
        places = torch.arange(3)
        self.register_buffer("index", (places[:, None] - places + 2).flatten())
        self.head = nn.Linear(4, 5)

    def forward(self, input: Tensor) -> Tensor:
        bias = self.bias_table[self.index].view(3, 3)
        attention = (input @ input.mT + bias).softmax(-1)
        return self.head((attention @ input).mean(1))


def _images(count: int, seed: int = 0) -> Tensor:
    return torch.randn(count, 3, 4, generator=torch.Generator().manual_seed(seed)).double()


NAMES = [f"recurrent.{kind}_l0" for kind in ("weight_ih", "weight_hh", "bias_ih", "bias_hh")]


def test_it_is_told_once_with_names_and_remedy_where_the_user_called() -> None:
    model = Recurrent().double().eval()
    tfa = TrainingGradCos(model)
    with pytest.warns(PassForEachExampleWarning) as caught:
        NoiseTunnel(tfa).attribute(
            _images(1), nt_samples=5, stdevs=0.1, target=1, additional_forward_args=(_images(1), 2)
        )
    (told,) = [one for one in caught if one.category is PassForEachExampleWarning]
    assert all(repr(name) in str(told.message) for name in NAMES)
    assert "startswith('recurrent')" in str(told.message)
    assert "head" not in str(told.message)
    assert told.filename == __file__
    with warnings.catch_warnings():
        warnings.simplefilter("error", PassForEachExampleWarning)
        tfa.attribute(_images(4), 1, (_images(1), 2))
        GradDotScore(model)(_images(2), _images(1), 1, 2)


def test_the_remedy_works_and_is_quiet() -> None:
    model = Recurrent().double().eval()

    def chosen(name: str) -> bool:
        return not name.startswith("recurrent")

    labels = torch.tensor([0, 1, 2])
    with warnings.catch_warnings():
        warnings.simplefilter("error", PassForEachExampleWarning)
        assert_exact(
            GradCosScore(model, parameters=chosen),
            SlowScore(model, parameters=chosen),
            _images(3),
            _images(3, 1),
            labels.flip(0),
            labels,
        )
        assert validate(model, _images(1), 1, parameters=chosen) == []


def test_what_a_warned_score_says_is_exact() -> None:
    labels = torch.tensor([0, 1, 2])
    for model in (Recurrent().double().eval(), WithTable().double().eval()):
        with pytest.warns(PassForEachExampleWarning):
            assert_exact(
                GradCosScore(model),
                SlowScore(model),
                _images(3),
                _images(3, 1),
                labels.flip(0),
                labels,
            )


def test_validate_lists_all_of_them() -> None:
    with pytest.warns(PassForEachExampleWarning):
        assert validate(Recurrent().double().eval(), _images(1), 1) == NAMES
    with pytest.warns(PassForEachExampleWarning, match="'bias_table'"):
        assert validate(WithTable().double().eval(), _images(2), [1, 0], check=True) == [
            "bias_table"
        ]


def test_nothing_is_told_of_models_whose_examples_share_nothing() -> None:
    model = small_cnn().double().eval()
    images = torch.randn(3, 3, 8, 8).double()
    with warnings.catch_warnings():
        warnings.simplefilter("error", PassForEachExampleWarning)
        assert validate(model, images) == []
        assert validate(model) == []
        GradCosScore(model)(images, images[:1], 1, 2)


def test_deltas_of_zero_leave_it_open() -> None:
    """A batch that a dead rectifier shuts off tells nothing of the layers before it."""
    model = nn.Sequential(nn.Linear(4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(9, 5)).double().eval()
    with torch.no_grad():
        model[0].bias.fill_(-100)
    with warnings.catch_warnings():
        warnings.simplefilter("error", PassForEachExampleWarning)
        GradDotScore(model)(_images(3), _images(1, 1), 1, 2)


def test_many_names_are_cut_short() -> None:
    names = [f"layer.{number}" for number in range(9)]
    with pytest.warns(PassForEachExampleWarning, match=r"'layer\.5' and 3 more\."):
        tell_once(nn.Linear(1, 1), names)


def test_other_parameters_of_the_same_model_are_told_too() -> None:
    model: Any = nn.Linear(1, 1)
    with pytest.warns(PassForEachExampleWarning, match="'one'"):
        tell_once(model, ["one"])
    with pytest.warns(PassForEachExampleWarning, match="'two'"):
        tell_once(model, ["one", "two"])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        tell_once(model, ["two"])
        tell_once(model, [])
