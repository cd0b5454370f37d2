"""The integrated form sums to the change of the output, and is the oracle's integral."""

from __future__ import annotations

import copy

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from captum_tfa import IntegratedXtrAIn, Trajectory, XtrAIn
from captum_tfa.attr.along_training import by_layer
from tests.attr.along_training.slow_xtrain import at, logit, wander
from tests.attr.comparing import left_as_found
from tests.attr.small_nets import PictureAndNumbers, SmallNet, drawn, made


def close(one: object, other: object, tolerance: float = 1e-9) -> None:
    torch.testing.assert_close(one, other, rtol=tolerance, atol=tolerance)


def smooth(features: int = 6, norm: bool = False) -> nn.Sequential:
    layers = [nn.Linear(features, 4), *[nn.BatchNorm1d(4)] * norm, nn.Tanh(), nn.Linear(4, 3)]
    model = made(nn.Sequential(*layers))
    assert isinstance(model, nn.Sequential)
    return model


def total(contributions: dict[str, Tensor]) -> Tensor:
    return sum(part.reshape(len(part), -1).sum(1) for part in contributions.values())  # type: ignore[return-value]


@given(
    features=st.integers(1, 5), norm=st.booleans(), rows=st.integers(1, 3), states=st.integers(2, 4)
)
@settings(max_examples=6, deadline=None)
def test_contributions_sum_to_the_change_of_the_output(
    features: int, norm: bool, rows: int, states: int
) -> None:
    model = smooth(features, norm)
    trajectory, x = wander(model, states), drawn(rows, 1, features)
    with left_as_found(model):
        found = IntegratedXtrAIn(model, trajectory, 20).contributions(x, 1)
    ends = [logit(model, trajectory.states[place], x, 1) for place in (-1, 0)]
    assert found["inputs"].shape == x.shape
    names = {name for name, _ in model.named_parameters()} - {"0.weight"}
    assert set(found) == {"inputs", *names, *(["(buffers)"] if norm else [])}
    close(total(found), ends[0] - ends[1], 1e-8)


def test_the_sum_comes_closer_as_the_points_grow() -> None:
    model = smooth()
    trajectory, x = wander(model, 3, size=0.6), drawn(2, 1, 6)
    change = logit(model, trajectory[2], x, 1) - logit(model, trajectory[0], x, 1)
    errors = []
    for points in (1, 2, 4, 8, 24):
        found = total(IntegratedXtrAIn(model, trajectory, points).contributions(x, 1))
        errors.append(float((found - change).abs().max()))
    assert errors == sorted(errors, reverse=True)
    assert errors[-1] < 1e-8


def test_it_is_the_integral_of_the_derivative_by_the_features_own_weights() -> None:
    model, x, count = smooth(), drawn(2, 1, 6), 4000
    before, after = wander(model, 2).states
    right = torch.zeros_like(x)
    for place in range(count):  # midpoints, by plain autograd
        part = (place + 0.5) / count
        here = at(model, {k: torch.lerp(before[k], after[k], part) for k in before})
        for row in range(len(x)):
            (slope,) = torch.autograd.grad(here(x[[row]])[0, 2], here[0].weight)
            right[row] += (slope * (after["0.weight"] - before["0.weight"])).sum(0) / count
    method = IntegratedXtrAIn(model, Trajectory([before, after]), 12)
    close(method.attribute(x, 2), right, 1e-6)
    close(method.contributions(x, 2)["inputs"], method.attribute(x, 2))
    close(method.attribute(x, 2, internal_batch_size=1), method.attribute(x, 2))


def test_small_updates_give_what_xtrain_gives() -> None:
    model = smooth()
    x, errors = drawn(2, 1, 6), []
    for size in (1e-1, 1e-2):
        trajectory = wander(model, 3, size=size)
        one = XtrAIn(model, trajectory).attribute(x, 1)
        other = IntegratedXtrAIn(model, trajectory, 6).attribute(x, 1)
        errors.append(float((one - other).abs().max() / one.abs().max()))
    assert errors[1] < errors[0] / 10


def test_walking_backwards_negates_and_steps_add_up() -> None:
    model = made(SmallNet())
    trajectory, x = wander(model, 4), drawn(2, 1, 2, 6, 6)
    for name in list(trajectory.states[0]):  # buffers move first, so they would not be mirrored
        if "running" in name:
            for state in trajectory.states[1:]:
                state[name] = trajectory.states[0][name]
    method = IntegratedXtrAIn(model, trajectory, 3)
    backwards = IntegratedXtrAIn(model, trajectory.backwards(), 3)
    close(backwards.attribute(x, 1), -method.attribute(x, 1))
    close(sum(method.steps(x, 1)), method.attribute(x, 1))
    parts = list(method.contributions_by_step(x, 1))
    whole = method.contributions(x, 1)
    for name, part in whole.items():
        close(sum(step[name] for step in parts), part)


def test_groups_get_the_sum_of_their_features() -> None:
    model = made(SmallNet())
    trajectory, x = wander(model, 2), drawn(2, 1, 2, 6, 6)
    masks = (torch.arange(72) % 5).view(1, 2, 6, 6)
    method = IntegratedXtrAIn(model, trajectory, 2)
    alone, together = method.attribute(x, 1), method.attribute(x, 1, feature_mask=masks)
    for group in range(5):
        inside = masks[0] == group
        for row in range(2):
            close(together[row][inside], alone[row][inside].sum().expand(int(inside.sum())))


def test_layers_are_the_sums_of_their_parameters() -> None:
    model = smooth(norm=True)
    found = IntegratedXtrAIn(model, wander(model, 3), 3).contributions(drawn(2, 1, 6), 0)
    layers = by_layer(found)
    assert set(layers) == {"inputs", "0", "1", "3", "(buffers)"}
    close(layers["1"], found["1.weight"] + found["1.bias"])
    close(total(layers), total(found))


def test_tied_weights_count_where_they_are_used() -> None:
    class Tied(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.last, self.first = nn.Linear(6, 6), nn.Linear(6, 6)
            self.last.weight = self.first.weight

        def forward(self, x: Tensor) -> Tensor:
            out: Tensor = self.last(torch.tanh(self.first(x)))
            return out

    model = made(Tied())
    trajectory, x = wander(model, 3), drawn(2, 1, 6)
    found = IntegratedXtrAIn(model, trajectory, 20).contributions(x, 1)
    assert set(found) == {"inputs", "last.weight", "last.bias", "first.bias"}
    change = logit(model, trajectory[2], x, 1) - logit(model, trajectory[0], x, 1)
    close(total(found), change, 1e-8)
    close(found["inputs"], IntegratedXtrAIn(model, trajectory, 20).attribute(x, 1))


def test_numbers_that_are_no_features_are_told_apart() -> None:
    model = made(smooth(8))

    class With(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.net = copy.deepcopy(model)

        def forward(self, x: Tensor, more: Tensor) -> Tensor:
            out: Tensor = self.net(torch.cat([x, more], 1))
            return out

    trajectory, x = wander(model, 3), drawn(2, 1, 8)
    states = [{f"net.{k}": v for k, v in state.items()} for state in trajectory.states]
    found = IntegratedXtrAIn(With(), Trajectory(states), 20).contributions(x[:, :6], 1, x[:, 6:])
    right = IntegratedXtrAIn(model, trajectory, 20).contributions(x, 1)
    close(found["inputs"], right["inputs"][:, :6])
    close(found["net.0.weight"], right["inputs"][:, 6:].sum(1))


def test_several_inputs_have_a_part_each() -> None:
    model = made(PictureAndNumbers())
    trajectory = wander(model, 3)
    inputs = drawn(2, 1, 1, 4, 4), drawn(2, 2, 3)
    method = IntegratedXtrAIn(model, trajectory, 20)
    found = method.contributions(inputs, 2)
    close((found["inputs.0"], found["inputs.1"]), method.attribute(inputs, 2))
    with torch.no_grad():
        ends = [at(model, trajectory[place])(*inputs)[:, 2] for place in (2, 0)]
    close(total(found), ends[0] - ends[1], 1e-8)


def test_bad_arguments_are_refused() -> None:
    model = smooth()
    with pytest.raises(ValueError, match="n_steps is 0"):
        IntegratedXtrAIn(model, wander(model, 2), 0)
    with pytest.raises(ValueError, match="one state only"):
        IntegratedXtrAIn(model, wander(model, 1))
    with pytest.raises(ValueError, match="target is missing"):
        IntegratedXtrAIn(model, wander(model, 2)).contributions(drawn(2, 1, 6))
