"""XtrAIn by its definition: copies of the model, one feature's weights put back, one pass each."""

from __future__ import annotations

import copy
from collections.abc import Mapping

import torch
from torch import Tensor, nn

from captum_tfa import Trajectory

State = Mapping[str, Tensor]


def wander(model: nn.Module, count: int = 4, seed: int = 0, size: float = 0.2) -> Trajectory:
    """A trajectory from the model's own state, of random updates; the model stays as it is."""
    draw = torch.Generator().manual_seed(seed)
    states = [{name: tensor.detach().clone() for name, tensor in model.state_dict().items()}]
    tied = {id(parameter): name for name, parameter in model.named_parameters()}
    own = dict(model.named_parameters(remove_duplicate=False))
    for _ in range(count - 1):
        moved: dict[str, Tensor] = {}
        for name, tensor in states[-1].items():
            first = tied.get(id(own[name]), name) if name in own else name
            if first in moved and first != name:
                moved[name] = moved[first]
            elif tensor.is_floating_point():
                step = torch.randn(tensor.shape, generator=draw, dtype=torch.float64)
                step = step if name in own else step.abs()  # a variance stays positive
                moved[name] = tensor + size * step.to(tensor.dtype)
            else:
                moved[name] = tensor
        states.append(moved)
    return Trajectory(states)


def at(model: nn.Module, state: State) -> nn.Module:
    other = copy.deepcopy(model)
    other.load_state_dict(dict(state))
    return other


def logit(model: nn.Module, state: State, x: Tensor, target: int) -> Tensor:
    with torch.no_grad():
        return at(model, state)(x)[:, target]


def slow_steps(
    model: nn.Module, trajectory: Trajectory, x: Tensor, target: int, key: str
) -> list[Tensor]:
    """Each step's attributions for a model whose layer ``key`` multiplies the flattened input."""
    found = []
    for before, after in zip(trajectory.states, trajectory.states[1:], strict=False):
        step = torch.zeros_like(x)
        for feature in range(x[0].numel()):
            old, new = dict(before), dict(after)
            old[key], new[key] = before[key].clone(), after[key].clone()
            old[key][:, feature] = after[key][:, feature]
            new[key][:, feature] = before[key][:, feature]
            forward = logit(model, after, x, target) - logit(model, new, x, target)
            reverse = logit(model, old, x, target) - logit(model, before, x, target)
            step.flatten(1)[:, feature] = (forward + reverse) / 2
        found.append(step)
    return found


class Swapped(nn.Module):
    """A convolution that reads some features with its own weights and the others with others'."""

    def __init__(self, own: nn.Module, other: nn.Module, feature: Tensor) -> None:
        super().__init__()
        self.own, self.other, self.feature = own, other, feature

    def forward(self, x: Tensor) -> Tensor:
        alone = torch.where(self.feature, x, 0.0)
        rest = torch.where(self.feature, 0.0, x)
        nothing = torch.zeros_like(x)
        return self.own(rest) + self.other(alone) - self.other(nothing)


def slow_responses(
    model: nn.Sequential, trajectory: Trajectory, x: Tensor, target: int, groups: Tensor, first: int
) -> Tensor:
    """XtrAIn of groups of features, ``z = A_t (x − x_G) + A_{t+1} x_G + b_t``, summed over steps.

    Args:
        model: a chain whose module number ``first`` is a layer that ``x`` enters as it is.
        trajectory: its states.
        x: inputs ``[B, ...]``.
        target: whose logit.
        groups: of each feature, of the shape ``x[0]``.
        first: number of the first layer.
    """
    total = torch.zeros_like(x)
    for before, after in zip(trajectory.states, trajectory.states[1:], strict=False):
        old, new = at(model, before), at(model, after)
        for group in groups.unique():
            inside = groups == group
            swapped_old, swapped_new = copy.deepcopy(old), copy.deepcopy(new)
            swapped_old[first] = Swapped(old[first], new[first], inside)
            swapped_new[first] = Swapped(new[first], old[first], inside)
            with torch.no_grad():
                forward = new(x)[:, target] - swapped_new(x)[:, target]
                reverse = swapped_old(x)[:, target] - old(x)[:, target]
            share = (forward + reverse) / 2
            total += share.view(-1, *[1] * (x.dim() - 1)) * inside
    return total
