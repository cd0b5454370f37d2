"""A model at another state computes as if it had been loaded, and is left as it was."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import Tensor, nn

from captum_tfa.trajectory.at_state import at_state
from tests.attr.comparing import left_as_found


class Shared(nn.Module):
    """Two layers with one weight, a norm layer and a recurrent one."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(4, 4), nn.Linear(4, 4)
        self.second.weight = self.first.weight
        self.norm, self.words = nn.BatchNorm1d(4), nn.GRU(4, 3, batch_first=True)

    def forward(self, inputs: Tensor) -> Tensor:
        hidden = self.norm(self.second(self.first(inputs)).mT).mT
        found: Tensor = self.words(hidden)[0]
        return found


def made(seed: int) -> Shared:
    torch.manual_seed(seed)
    model = Shared().double().eval()
    model.norm.running_mean += torch.randn(4)  # type: ignore[operator]
    return model


def test_it_computes_what_the_other_model_computes() -> None:
    model, other, inputs = made(0), made(1), torch.randn(2, 5, 4).double()
    before = model(inputs)
    with left_as_found(model), at_state(model, other.state_dict()):
        assert torch.equal(model(inputs), other(inputs))
        assert model.first.weight is model.second.weight
        found = model(inputs).sum()
        parameters = list(model.parameters())
    assert torch.equal(model(inputs), before)
    # A graph from inside can still be used outside.
    given = torch.autograd.grad(found, parameters)
    right = torch.autograd.grad(other(inputs).sum(), list(other.parameters()))
    for one, expected in zip(given, right, strict=True):
        assert torch.equal(one, expected)


def test_frozen_parameters_stay_frozen_and_states_stay_themselves() -> None:
    model, other = made(0), made(1)
    model.first.bias.requires_grad_(False)
    state = other.state_dict()
    kept = copy.deepcopy(state)
    with at_state(model, state), torch.no_grad():
        assert not model.first.bias.requires_grad
        assert model.second.bias.requires_grad
        model.second.bias += 1
    for name, tensor in kept.items():
        assert torch.equal(state[name], tensor)


def test_the_model_is_back_after_an_exception_and_after_a_state_that_lacks_something() -> None:
    model, other = made(0), made(1)
    with left_as_found(model):
        with pytest.raises(ZeroDivisionError), at_state(model, other.state_dict()):
            raise ZeroDivisionError
        with pytest.raises(KeyError), at_state(model, {}):
            pass
