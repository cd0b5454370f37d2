"""A score is that of the model, the loss and the labels as they are now: nothing stale."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace

import pytest
import torch
from torch import Tensor, nn

from captum_tfa import GradCosScore, GradDotScore
from tests.oracle import CLASSES, EXACT, NETS, SlowScore, dot, relative_error


class Changeable(nn.Module):
    """A net whose gradients depend on all sorts of things that are no parameters."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Linear(4, 4)
        self.norm = nn.BatchNorm1d(4)
        self.second = nn.Linear(4, CLASSES)
        self.register_buffer("weights", torch.tensor([1.0, 2.0, 3.0, 4.0]))
        self.register_buffer("phase", torch.polar(torch.ones(2), torch.tensor([0.3, -0.4])))
        self.scale = 1.0
        self._power = 1.0
        self.mode = "tanh"
        self.factors = [1.0, 1.0]
        self.settings = {"shift": 0.1}
        self.config = SimpleNamespace(temperature=1.0)
        self.constant = torch.tensor([1.0, -1.0, 2.0, 0.5], dtype=torch.float64)
        self.activation: Callable[[Tensor], Tensor] = lambda hidden: hidden + 0.1

    def forward(self, input: Tensor) -> Tensor:
        hidden = self.norm(self.first(input * self.weights)) * self._power
        turned = torch.view_as_complex(hidden.unflatten(1, (2, 2)).contiguous()) * self.phase
        hidden = torch.view_as_real(turned).flatten(1)
        hidden = hidden.tanh() if self.mode == "tanh" else hidden.sin()
        hidden = self.activation(hidden * self.scale * self.factors[0] + self.settings["shift"])
        return self.second(hidden * self.constant) / self.config.temperature


def _model() -> Changeable:
    torch.manual_seed(0)
    model = Changeable()
    for part in (model.first, model.norm, model.second):
        part.double()
    model.weights = model.weights.double()
    model.phase = model.phase.to(torch.complex128)
    return model.eval()


def _step(model: Changeable) -> None:
    optimizer = torch.optim.SGD(model.parameters(), lr=0.5)
    model(torch.ones(1, 4, dtype=torch.float64)).square().sum().backward()
    optimizer.step()
    optimizer.zero_grad(set_to_none=True)


def _load(model: Changeable) -> None:
    state = model.state_dict()
    model.load_state_dict({**state, "first.weight": state["first.weight"].flip(0)})


def _replace(model: Changeable) -> None:
    model.second = nn.Linear(4, CLASSES).double()


def _new_parameter(model: Changeable) -> None:
    model.first.weight = nn.Parameter(model.first.weight.detach().flip(0))


def _assign(model: Changeable) -> None:
    model.first.weight.data = model.first.weight.data.flip(0)


def _swap_rows(model: Changeable) -> None:
    model.first.weight.data[[0, 1]] = model.first.weight.data[[1, 0]]


def _by_numpy(model: Changeable) -> None:
    model.first.weight.detach().numpy()[0, 0] += 1


def _swap_by_numpy(model: Changeable) -> None:
    rows = model.first.weight.detach().numpy()
    rows[[0, 1]] = rows[[1, 0]]


CHANGES: dict[str, Callable[[Changeable], object]] = {
    "optimizer step": _step,
    "state dict": _load,
    "in-place change": lambda model: (
        model.first.weight.requires_grad_(False).mul_(2).requires_grad_()
    ),
    "writing through data": lambda model: model.first.weight.data.mul_(2),
    "assigning data": _assign,
    "swapping rows through data": _swap_rows,
    "swapping rows through numpy": _swap_by_numpy,
    "writing through numpy": _by_numpy,
    "new parameter": _new_parameter,
    "new module": _replace,
    "buffer": lambda model: model.weights.mul_(torch.tensor([2.0, 1.0, 1.0, 1.0])),
    "buffer through data": lambda model: model.weights.data.copy_(model.weights.flip(0).clone()),
    "running statistics": lambda model: model.norm.running_var.mul_(3),
    "imaginary part of a buffer": lambda model: model.phase.data.imag.neg_(),
    "epsilon": lambda model: setattr(model.norm, "eps", 1.0),
    "number": lambda model: setattr(model, "scale", 2.0),
    "private number": lambda model: setattr(model, "_power", 2.0),
    "word": lambda model: setattr(model, "mode", "sin"),
    "entry of a list": lambda model: model.factors.__setitem__(0, 2.0),
    "entry of a dictionary": lambda model: model.settings.update(shift=0.7),
    "field of an object": lambda model: setattr(model.config, "temperature", 3.0),
    "constant tensor": lambda model: model.constant.mul_(torch.tensor([1.0, 2.0, 3.0, 4.0])),
    "function": lambda model: setattr(model, "activation", lambda hidden: hidden.sin() + 0.2),
    "frozen parameter": lambda model: model.first.weight.requires_grad_(False),
}


@pytest.mark.parametrize("change", CHANGES)
def test_no_change_of_the_model_goes_unseen(change: str) -> None:
    model = _model()
    train, test = torch.randn(3, 4).double(), torch.randn(1, 4).double()
    score = GradCosScore(model)
    before = score(train, test, 1, 0)
    CHANGES[change](model)
    given = score(train, test, 1, 0)
    expected = SlowScore(model)(train, test, 1, 0)
    assert relative_error(before, expected) > 1e-4  # the change does matter
    assert relative_error(given, expected) < EXACT


def test_functions_replaced_again_and_again_are_seen() -> None:
    # A new object may get the place in memory of the one before it.
    model = _model()
    train, test = torch.randn(2, 4).double(), torch.randn(1, 4).double()
    score = GradCosScore(model)
    for factor in range(1, 20):
        model.activation = lambda hidden, factor=factor: (hidden * factor / 5).sin()
        expected = SlowScore(model)(train, test, 1, 0)
        assert relative_error(score(train, test, 1, 0), expected) < EXACT


LOSS_CHANGES: dict[str, Callable[[nn.CrossEntropyLoss], object]] = {
    "weights": lambda loss: loss.weight.mul_(torch.tensor([1.0, 9.0, 1.0, 1.0, 1.0])),
    "smoothing": lambda loss: setattr(loss, "label_smoothing", 0.5),
}


@pytest.mark.parametrize("change", LOSS_CHANGES)
def test_no_change_of_the_loss_goes_unseen(change: str) -> None:
    model, loss = _model(), nn.CrossEntropyLoss(torch.ones(CLASSES).double(), reduction="none")
    train, test = torch.randn(3, 4).double(), torch.randn(1, 4).double()
    score = GradDotScore(model, loss)
    score(train, test, 1, 0)
    LOSS_CHANGES[change](loss)
    expected = SlowScore(model, loss, formula=dot)(train, test, 1, 0)
    assert relative_error(score(train, test, 1, 0), expected) < EXACT


def test_labels_images_and_their_order_are_told_apart() -> None:
    model = NETS["linear"].model()
    score, slow = GradCosScore(model), SlowScore(model)
    train, test = torch.randn(2, 6).double(), torch.randn(2, 6).double()
    for labels in ([0, 1], [1, 0], [1, 1], [0, 1], None):
        target = None if labels is None else torch.tensor(labels)
        assert relative_error(score(train, test, labels, 0), slow(train, test, target, 0)) < EXACT
    flipped = test.flip(0)
    expected = slow(train, flipped, torch.tensor([0, 1]), 0)
    assert relative_error(score(train, flipped, [0, 1], 0), expected) < EXACT
    test.mul_(-1)  # in place: the tensor is the same, the image is not
    expected = slow(train, test, torch.tensor([0, 1]), 0)
    assert relative_error(score(train, test, [0, 1], 0), expected) < EXACT


def test_a_choice_of_parameters_that_changes_is_followed() -> None:
    model = NETS["linear"].model()
    counting = {"0.weight"}
    score = GradCosScore(model, parameters=lambda name: name in counting)
    train, test = torch.randn(2, 6).double(), torch.randn(1, 6).double()
    for names in ({"0.weight"}, {"0.weight", "2.weight"}, {"2.bias"}):
        counting.clear()
        counting.update(names)
        expected = SlowScore(model, parameters=counting.__contains__)(train, test, 1, 0)
        assert relative_error(score(train, test, 1, 0), expected) < EXACT
