"""``validate(check=True)``: the engine against plain autograd on the user's own model."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from captum_tfa import validate
from tests.oracle import CLASSES, NETS, model_state, small_cnn


@pytest.mark.parametrize("name", NETS)
@pytest.mark.filterwarnings("ignore:.*weight_norm. is deprecated:FutureWarning")
def test_good_models_pass(name: str) -> None:
    case = NETS[name]
    validate(case.model(), case.inputs(1), 2, output_fn=case.output_fn, check=True)


@pytest.mark.parametrize("mode", [torch.no_grad, torch.inference_mode])
def test_float32_and_the_callers_mode_are_no_obstacle(mode: type) -> None:
    model = small_cnn().eval()
    images = torch.randn(2, 3, 8, 8)
    before = model_state(model)
    with mode():
        validate(model, images, check=True)
    assert model_state(model) == before


def test_losses_and_choices_of_parameters_are_taken_over() -> None:
    loss = nn.MSELoss(reduction="none")
    model, images = small_cnn().double().eval(), torch.randn(1, 3, 8, 8).double()
    validate(model, images, torch.zeros(1, CLASSES), loss_fn=loss, parameters=["8"], check=True)
    with pytest.raises(ValueError, match="no parameter or module named 'layer4'"):
        validate(model, images, 1, parameters=["layer4"], check=True)


class Coupled(nn.Module):
    """Subtracts the mean over the batch."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(4, CLASSES)

    def forward(self, input: Tensor) -> Tensor:
        hidden = self.layer(input.tanh())
        return hidden - 0.5 * hidden.mean(0)


class Random(nn.Linear):
    """Drops inputs at random in evaluation mode too."""

    def forward(self, input: Tensor) -> Tensor:
        return super().forward(F.dropout(input, 0.5, training=True))


@pytest.mark.parametrize("model", [Coupled(), Random(64, CLASSES)])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_coupled_and_random_models_are_found_out(model: nn.Module, dtype: torch.dtype) -> None:
    model = model.to(dtype).eval()
    width = 4 if isinstance(model, Coupled) else 64
    validate(model)  # cannot be seen from outside
    with pytest.raises(RuntimeError, match=r"differs by .* depend on each other .* or its output"):
        validate(model, torch.randn(1, width, dtype=dtype), 1, check=True)


def test_coupling_that_shows_in_the_map_alone_is_found_out() -> None:
    class Moved(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = nn.Linear(4, CLASSES)

        def forward(self, input: Tensor) -> Tensor:
            other = input.roll(1, 0)
            # The value is the example's own; the derivative is half its neighbour's.
            own = input - 0.5 * (other - other.detach())
            return self.layer(own.tanh())

    with pytest.raises(RuntimeError, match=r"derivative of that norm in input 0 .* differs by"):
        validate(Moved().double(), torch.randn(1, 4).double(), 1, check=True)


def test_words_at_the_end_of_a_table_are_an_example_too() -> None:
    model = nn.Sequential(nn.Embedding(30, 3), nn.Flatten(), nn.Linear(6, CLASSES)).double()
    validate(model, torch.tensor([[29, 28]]), 1, check=True)


def test_a_check_needs_an_example() -> None:
    with pytest.raises(ValueError, match=r"check=True needs an example: validate\(model, inputs"):
        validate(small_cnn().eval(), check=True)


def test_problems_come_before_the_check() -> None:
    with pytest.raises(ValueError, match="BatchNorm in training mode"):
        validate(small_cnn().train(), torch.randn(1, 3, 8, 8), check=True)
