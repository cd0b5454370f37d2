"""XtrAIn is what its definition says, and has the properties that follow from it."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import pytest
import torch
from captum.attr import Attribution, NoiseTunnel
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from captum_tfa import Trajectory, Xstep, XtrAIn, XtrAInPlus
from tests.attr.along_training.slow_xtrain import slow_responses, slow_steps, wander
from tests.attr.comparing import left_as_found
from tests.attr.small_nets import PictureAndNumbers, SmallNet, drawn, made


def close(one: Any, other: Any) -> None:
    torch.testing.assert_close(one, other, rtol=1e-9, atol=1e-12)


def perceptron(sizes: tuple[int, ...], norm: bool = False) -> nn.Sequential:
    layers: list[nn.Module] = [nn.Flatten()]
    for place, (width, wider) in enumerate(pairwise(sizes)):
        layers.append(nn.Linear(width, wider))
        if place < len(sizes) - 2:
            layers += [nn.BatchNorm1d(wider)] * norm + [nn.ReLU(inplace=True)]
    model = made(nn.Sequential(*layers))
    assert isinstance(model, nn.Sequential)
    return model


@settings(max_examples=8, deadline=None)
@given(
    sizes=st.tuples(st.just(6), st.integers(1, 4), st.integers(1, 4)),
    norm=st.booleans(),
    rows=st.integers(1, 3),
    states=st.integers(2, 4),
    at_once=st.one_of(st.none(), st.integers(1, 20)),
)
def test_it_equals_the_loop_over_features(
    sizes: tuple[int, ...], norm: bool, rows: int, states: int, at_once: int | None
) -> None:
    model = perceptron((*sizes, 3), norm)
    trajectory, x = wander(model, states), drawn(rows, 1, 2, 3)
    right = slow_steps(model, trajectory, x, 1, "1.weight")
    with left_as_found(model):
        found = XtrAIn(model, trajectory).attribute(x, 1, internal_batch_size=at_once)
        steps = list(XtrAIn(model, trajectory).steps(x, 1, internal_batch_size=at_once))
        plus = XtrAInPlus(model, trajectory).attribute(x, 1)
    close(found, sum(right))
    close(steps, right)
    close(plus, sum(step.clamp_min(0) for step in right))


@settings(max_examples=15, deadline=None)
@given(
    kernel=st.tuples(st.integers(1, 3), st.integers(1, 3)),
    stride=st.tuples(st.integers(1, 3), st.integers(1, 2)),
    padding=st.one_of(st.tuples(st.integers(0, 2), st.integers(0, 2)), st.just("valid")),
    dilation=st.integers(1, 2),
    groups=st.sampled_from([1, 2]),
    mode=st.sampled_from(["zeros", "reflect", "circular"]),
    several=st.booleans(),
)
def test_convolutions_equal_the_swapped_responses(
    kernel: tuple[int, int],
    stride: tuple[int, int],
    padding: Any,
    dilation: int,
    groups: int,
    mode: str,
    several: bool,
) -> None:
    layer = nn.Conv2d(2, 4, kernel, stride, padding, dilation, groups, padding_mode=mode)
    layers = [layer, nn.Tanh(), nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(16, 3)]
    model = made(nn.Sequential(*layers))
    assert isinstance(model, nn.Sequential)
    trajectory, x = wander(model, 3), drawn(2, 1, 2, 6, 5)
    masks = torch.arange(60).view(2, 6, 5)
    masks = masks % 7 if several else masks
    right = slow_responses(model, trajectory, x, 2, masks, 0)
    found = XtrAIn(model, trajectory).attribute(x, 2, feature_mask=masks[None] if several else None)
    close(found, right)


@pytest.mark.parametrize(
    ("layer", "shape"),
    [
        (nn.Conv2d(2, 4, 3, padding="same"), (2, 4, 4)),
        (nn.Conv2d(2, 4, 2, padding="same", dilation=3), (2, 4, 4)),
        (nn.Conv1d(2, 4, 3, stride=2, padding=1), (2, 7)),
        (nn.Conv3d(1, 4, 2, padding=1), (1, 3, 2, 2)),
        (nn.Linear(4, 4), (3, 4)),
    ],
)
def test_other_layers_equal_the_swapped_responses(layer: nn.Module, shape: tuple[int, ...]) -> None:
    layers = [layer, nn.Tanh(), nn.Flatten(), nn.LazyLinear(3)]
    model = nn.Sequential(*layers).double()
    x = drawn(2, 1, *shape)
    model(x)
    made(model)
    trajectory = wander(model, 3)
    masks = torch.arange(x[0].numel()).view(shape)
    right = slow_responses(model, trajectory, x, 0, masks, 0)
    close(XtrAIn(model, trajectory).attribute(x, 0), right)


def test_a_kernel_as_large_as_the_picture_is_the_dense_case() -> None:
    dense = perceptron((12, 4, 3))
    conv = made(nn.Sequential(nn.Conv2d(3, 4, 2), nn.Flatten(), nn.ReLU(), nn.Linear(4, 3)))
    trajectory, x = wander(dense, 4), drawn(3, 2, 3, 2, 2)
    names = {"1.weight": "0.weight", "1.bias": "0.bias", "3.weight": "3.weight", "3.bias": "3.bias"}
    states = [
        {new: state[old].view(conv.state_dict()[new].shape) for old, new in names.items()}
        for state in trajectory.states
    ]
    close(
        XtrAIn(conv, Trajectory(states)).attribute(x, 1),
        XtrAIn(dense, trajectory).attribute(x, 1),
    )


class Patches(nn.Module):
    """A vision transformer's way in: patches by a convolution, a learned place for each."""

    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Conv2d(3, 4, 2, stride=2)
        self.places = nn.Parameter(torch.zeros(1, 4, 4))
        self.mix = nn.TransformerEncoderLayer(4, 2, 8, dropout=0.0, batch_first=True)
        self.head = nn.Linear(4, 3)

    def forward(self, x: Tensor) -> Tensor:
        tokens = self.embed(x).flatten(2).transpose(1, 2) + self.places
        out: Tensor = self.head(self.mix(tokens).mean(1))
        return out


class LinearPatches(Patches):
    """The same, with patches cut out and multiplied by a linear layer."""

    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Linear(12, 4)  # type: ignore[assignment]

    def forward(self, x: Tensor) -> Tensor:
        rows = x.unfold(2, 2, 2).unfold(3, 2, 2)  # [B, 3, 2, 2, 2, 2]
        patches = rows.permute(0, 2, 3, 1, 4, 5).flatten(3).flatten(1, 2)
        out: Tensor = self.head(self.mix(self.embed(patches) + self.places).mean(1))
        return out


def test_patches_by_a_convolution_or_a_linear_layer_are_the_same() -> None:
    conv, linear = made(Patches()), made(LinearPatches())
    x, trajectory = drawn(2, 3, 3, 4, 4), wander(conv, 3)
    states = [
        {**state, "embed.weight": state["embed.weight"].flatten(1)} for state in trajectory.states
    ]
    found = XtrAIn(conv, trajectory).attribute(x, 1)
    assert found.abs().min() > 0
    close(XtrAIn(linear, Trajectory(states)).attribute(x, 1), found)


@pytest.mark.parametrize("method", [XtrAIn, lambda m, t: Xstep(m, t, t.steps)])
def test_walking_backwards_negates_every_attribution(method: Any) -> None:
    model = perceptron((6, 4, 3))
    trajectory, x = wander(model, 5), drawn(3, 1, 6)
    close(
        method(model, trajectory.backwards()).attribute(x, 2),
        -method(model, trajectory).attribute(x, 2),
    )


def test_forward_and_reverse_swap_count_alike() -> None:
    """On the way there and back again nothing is left: the two swaps are each other's mirror."""
    model = perceptron((6, 4, 3))
    a, b = wander(model, 2).states
    there_and_back = XtrAIn(model, Trajectory([a, b, a])).attribute(drawn(2, 1, 6), 0)
    close(there_and_back, torch.zeros_like(there_and_back))


@pytest.mark.parametrize("name", ["dense", "conv"])
def test_what_never_changes_gets_exactly_zero(name: str) -> None:
    layer = nn.Linear(6, 4) if name == "dense" else nn.Conv1d(6, 4, 1)
    model = made(nn.Sequential(layer, nn.ReLU(), nn.Flatten(), nn.Linear(4, 3))).float()
    trajectory = wander(model, 4)
    for state in trajectory.states[1:]:
        state["0.weight"][:, 2] = trajectory.states[0]["0.weight"][:, 2]
    x = drawn(3, 1, *((6,) if name == "dense" else (6, 1))).float()
    x[:, 4] = 0
    found = XtrAIn(model, trajectory).attribute(x, 1).flatten(1)
    assert found[:, [2, 4]].tolist() == [[0.0, 0.0]] * 3
    assert found[:, [0, 1, 3, 5]].abs().min() > 0


@given(features=st.integers(1, 6), states=st.integers(2, 5))
@settings(max_examples=10, deadline=None)
def test_a_linear_model_has_its_closed_form(features: int, states: int) -> None:
    model = made(nn.Linear(features, 2))
    trajectory, x = wander(model, states), drawn(3, 1, features)
    change = trajectory.states[-1]["weight"] - trajectory.states[0]["weight"]
    found = XtrAIn(model, trajectory).attribute(x, torch.tensor([0, 1, 1]))
    close(found, x * change[[0, 1, 1]])
    ends = Xstep(model, trajectory, [0, states - 1]).attribute(x, torch.tensor([0, 1, 1]))
    close(ends, found)


def test_xstep_over_all_steps_is_xtrain_and_over_some_is_xtrain_of_those() -> None:
    model = perceptron((6, 4, 3))
    trajectory, x = wander(model, 6), drawn(2, 1, 6)
    close(
        Xstep(model, trajectory, range(6)).attribute(x, 1),
        XtrAIn(model, trajectory).attribute(x, 1),
    )
    some = [trajectory.states[place] for place in (0, 2, 4, 5)]
    right = XtrAIn(model, Trajectory(some)).attribute(x, 1)
    close(Xstep(model, trajectory, [0, 2, 4, 5]).attribute(x, 1), right)
    close(Xstep(model, trajectory, 2).attribute(x, 1), right)


def test_several_inputs_further_arguments_and_a_target_for_each_row() -> None:
    model = made(PictureAndNumbers())
    trajectory = wander(model, 3)
    pictures, numbers = drawn(3, 1, 1, 4, 4), drawn(3, 2, 3)
    target = torch.tensor([2, 0, 1])
    both = XtrAIn(model, trajectory).attribute((pictures, numbers), target)
    assert isinstance(both, tuple)
    assert [part.shape for part in both] == [pictures.shape, numbers.shape]
    one = XtrAIn(model, trajectory).attribute(pictures, target, numbers)
    close(one, both[0])
    for row in range(3):
        here = slice(row, row + 1)
        alone = XtrAIn(model, trajectory).attribute(
            (pictures[here], numbers[here]), int(target[row])
        )
        close(alone, tuple(part[here] for part in both))
    listed = XtrAIn(model, trajectory).attribute((pictures, numbers), [2, 0, 1])
    close(listed, both)


def test_inputs_that_enter_one_layer_together() -> None:
    class Joined(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.last = nn.Linear(5, 4), nn.Linear(4, 2)

        def forward(self, a: Tensor, b: Tensor) -> Tensor:
            out: Tensor = self.last(torch.tanh(self.first(torch.cat([b, a], 1))))
            return out

    model = made(Joined())
    trajectory, x = wander(model, 3), drawn(2, 1, 5)
    plain = made(nn.Sequential(nn.Linear(5, 4), nn.Tanh(), nn.Linear(4, 2)))
    names = dict(zip(model.state_dict(), plain.state_dict(), strict=True))
    states = [{names[key]: value for key, value in s.items()} for s in trajectory.states]
    right = XtrAIn(plain, Trajectory(states)).attribute(x, 1)
    a, b = XtrAIn(model, trajectory).attribute((x[:, 3:], x[:, :3]), 1)
    close(torch.cat([b, a], 1), right)


def test_constants_before_the_first_layer_are_part_of_what_it_multiplies() -> None:
    class Normalised(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.register_buffer("mean", torch.tensor([0.3, -1.0]).view(2, 1, 1))
            self.net = nn.Sequential(nn.Conv2d(2, 3, 2), nn.ReLU(), nn.Flatten(), nn.Linear(12, 2))

        def forward(self, x: Tensor) -> Tensor:
            out: Tensor = self.net((x - self.mean) * 2)
            return out

    model = Normalised().double().eval()
    trajectory, x = wander(model.net, 3), drawn(2, 1, 2, 3, 3)
    states = [
        {"mean": model.mean, **{f"net.{key}": value for key, value in state.items()}}
        for state in trajectory.states
    ]
    inside = (x - model.mean) * 2
    close(
        XtrAIn(model, Trajectory(states)).attribute(x, 1),
        XtrAIn(model.net, trajectory).attribute(inside, 1),
    )


def test_a_residual_net_whose_first_layer_is_a_convolution() -> None:
    class Residual(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.stem, self.block = nn.Conv2d(2, 3, 3, padding=1), nn.Conv2d(3, 3, 3, padding=1)
            self.fc = nn.Linear(3, 2)

        def forward(self, x: Tensor) -> Tensor:
            seen = torch.relu_(self.stem(x))
            seen = seen + torch.tanh(self.block(seen))
            out: Tensor = self.fc(seen.mean((2, 3)))
            return out

    model = made(Residual())
    trajectory, x = wander(model, 3), drawn(2, 1, 2, 4, 4)
    masks = (torch.arange(32) % 3).view(1, 2, 4, 4)
    fast = XtrAIn(model, trajectory).attribute(x, 0)
    groups = XtrAIn(model, trajectory).attribute(x, 0, feature_mask=masks)
    assert fast.shape == x.shape
    for name in range(3):
        assert groups[0][masks[0] == name].unique().numel() == 1
    each = torch.arange(32).view(1, 2, 4, 4)
    close(XtrAIn(model, trajectory).attribute(x, 0, feature_mask=each), fast)


def test_the_first_layer_is_computed_once_a_state_and_the_rest_for_each_feature() -> None:
    counts = {"first": 0, "rest": 0}

    class Counting(torch.overrides.TorchFunctionMode):
        def __torch_function__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None):
            if function is nn.functional.linear:
                rows, width = args[0].shape
                counts["first" if width == 50 else "rest"] += rows
            return function(*args, **(kwargs or {}))

    model = made(nn.Sequential(nn.Linear(50, 4), nn.ReLU(), nn.Linear(4, 3)))
    trajectory, x = wander(model, 6), drawn(1, 1, 50)
    with Counting():
        XtrAIn(model, trajectory).attribute(x, 1)
    assert counts["rest"] >= 2 * 50 * 5
    assert counts["rest"] <= 2 * 50 * 5 + 2 * 5 + 2
    assert counts["first"] <= 2 * 5 + 2  # the two of the pass that finds the layer


def test_it_is_a_captum_attribution_and_works_in_noise_tunnel() -> None:
    model = perceptron((6, 4, 3))
    method = XtrAIn(model, wander(model, 3))
    assert isinstance(method, Attribution)
    found = NoiseTunnel(method).attribute(drawn(2, 1, 6), target=1, nt_samples=3, stdevs=0.0)
    close(found, method.attribute(drawn(2, 1, 6), target=1))
    with torch.inference_mode():
        inside = method.attribute(drawn(2, 1, 6), target=1)
    close(inside.clone(), found)


@pytest.mark.parametrize("model", [SmallNet()])
def test_the_model_is_left_as_found_when_something_fails(model: nn.Module) -> None:
    made(model)
    trajectory, x = wander(model, 3), drawn(2, 1, 2, 6, 6)
    with left_as_found(model):
        XtrAIn(model, trajectory).attribute(x, 1)
        with pytest.raises(ValueError, match="indices count from 0"):
            XtrAIn(model, trajectory).attribute(x, 3)
        with pytest.raises(RuntimeError):
            XtrAIn(model, trajectory).attribute(drawn(2, 1, 2, 9, 9), 1)
        broken = {**trajectory.states[2], "fc.bias": torch.full((3,), torch.nan)}
        bad = Trajectory([*trajectory.states[:2], broken])
        with pytest.raises(ValueError, match="holds NaN"):
            XtrAIn(model, bad).attribute(x, 1)
        steps = XtrAIn(model, trajectory).steps(x, 1)
        next(steps)
        steps.close()


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"inputs": "x"}, TypeError, "inputs holds a str"),
        ({"inputs": torch.zeros(2, 6, dtype=torch.long)}, TypeError, "must be floating point"),
        ({"inputs": torch.zeros(6)}, ValueError, r"\[6\]; each must be \[B, ...\]"),
        ({"inputs": ()}, ValueError, "inputs is empty"),
        ({"target": None}, ValueError, "target is missing"),
        ({"target": 3}, ValueError, "indices count from 0"),
        ({"target": -1}, ValueError, "indices count from 0"),
        ({"target": 0.5}, TypeError, "target is 0.5"),
        ({"target": "cat"}, TypeError, "target is 'cat'"),
        ({"target": (0, 1)}, ValueError, "2 indices for each row"),
        ({"target": [0, 1, 2]}, ValueError, "3 rows for 2 inputs"),
        ({"feature_mask": torch.zeros(1, 5).long()}, ValueError, r"feature_mask is \[1, 5\]"),
        ({"feature_mask": torch.zeros(1, 6)}, TypeError, "must hold whole numbers"),
        ({"feature_mask": (torch.zeros(6).long(),) * 2}, ValueError, "2 feature masks came for 1"),
        ({"internal_batch_size": 0}, ValueError, "internal_batch_size is 0"),
    ],
)
def test_bad_arguments_are_refused(
    arguments: dict[str, Any], error: type[Exception], message: str
) -> None:
    model = perceptron((6, 4, 3))
    asked = {"inputs": drawn(2, 1, 6).float().double(), "target": 1, **arguments}
    with left_as_found(model), pytest.raises(error, match=message):
        XtrAIn(model, wander(model, 3)).attribute(**asked)


def test_bad_models_and_trajectories_are_refused() -> None:
    model = perceptron((6, 4, 3))
    trajectory, x = wander(model, 4), drawn(2, 1, 6)
    with pytest.raises(TypeError, match="model is a function"):
        XtrAIn(lambda x: x, trajectory)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="trajectory is a list; give a Trajectory"):
        XtrAIn(model, trajectory.states)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="one state only"):
        XtrAIn(model, Trajectory(trajectory.states[:1]))
    with pytest.raises(ValueError, match=r"steps 1 and 3 are 2 apart, others 1\. .*Xstep"):
        XtrAIn(model, Trajectory(trajectory.states, [0, 1, 3, 4]))
    with pytest.raises(ValueError, match=r"state 0 of the trajectory \(step 0\) does not fit"):
        XtrAIn(perceptron((6, 5, 3)), trajectory).attribute(x, 1)
    for steps, message in (
        ([0], "lies between two"),
        ([0, 9], "no state of step 9"),
        ([2, 0, 1], "must rise"),
        (0, "at least 1"),
    ):
        with pytest.raises(ValueError, match=message):
            Xstep(model, trajectory, steps)  # type: ignore[arg-type]
    training = perceptron((6, 4, 3), norm=True).train()
    with pytest.raises(ValueError, match=r"call model\.eval\(\)"):
        XtrAIn(training, wander(training, 2)).attribute(x, 1)
    returned = made(nn.Sequential(nn.Linear(6, 3), nn.Unflatten(1, (1, 3))))
    with pytest.raises(ValueError, match="1 indices for each row"):
        XtrAIn(returned, wander(returned, 2)).attribute(x, 1)
    found = XtrAIn(returned, wander(returned, 2)).attribute(x, (0, 1))
    assert found.shape == x.shape
