"""A model that none of the definitions fits is refused, with what is in the way."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from captum_tfa import XtrAIn
from tests.attr.along_training.slow_xtrain import wander
from tests.attr.comparing import left_as_found
from tests.attr.small_nets import ScaledFirst, Twice, drawn, made


class By(nn.Module):
    """A model that is a function of its layers."""

    def __init__(self, way: Callable[[By, Tensor], Tensor], **layers: nn.Module) -> None:
        super().__init__()
        self.way = way
        for name, layer in layers.items():
            self.add_module(name, layer)

    def forward(self, x: Tensor) -> Tensor:
        return self.way(self, x)


def linear(width: int = 6) -> nn.Linear:
    return nn.Linear(width, 3)


REFUSED: dict[str, tuple[Callable[[], nn.Module], str]] = {
    "two layers": (
        lambda: By(lambda m, x: m.a(x) + m.b(x), a=linear(), b=linear()),
        "The input reaches 2 layers, 'a', 'b'",
    ),
    "a connection around the first layer": (
        lambda: By(lambda m, x: m.a(x) + x[:, :3], a=linear()),
        r"also reach the output past the first layer \('a'\)",
    ),
    "a connection into the second layer": (
        lambda: By(lambda m, x: m.b(torch.cat([m.a(x), x], 1)), a=linear(), b=linear(9)),
        "The input reaches 2 layers",
    ),
    "a norm layer first": (
        lambda: nn.Sequential(nn.LayerNorm(6), linear()),
        r"enter the model in '0', a LayerNorm\.",
    ),
    "recurrent": (
        lambda: By(lambda m, x: m.rnn(x[:, None])[0][:, 0], rnn=nn.GRU(6, 3, batch_first=True)),
        "enter the model in 'rnn', a GRU",
    ),
    "a layer of its own": (
        lambda: nn.Sequential(nn.utils.parametrizations.weight_norm(linear())),
        "a ParametrizedLinear, but with a forward or a weight of its own",
    ),
    "a layer twice": (
        lambda: By(lambda m, x: m.a(x) + m.a(2 * x), a=linear()),
        "enter layer 'a' 2 times",
    ),
    "features mixed": (
        lambda: nn.Sequential(nn.Softmax(1), linear()),
        "mixes features or rows, or drops some",
    ),
    "features smoothed": (
        lambda: By(lambda m, x: m.a(x + x.roll(1, 1)), a=linear()),
        "mixes features or rows, or drops some",
    ),
    "features dropped": (
        lambda: By(lambda m, x: m.a(x[:, :4]), a=linear(4)),
        "mixes features or rows, or drops some",
    ),
    "a feature that comes twice": (
        lambda: By(lambda m, x: m.a(torch.cat([x, x[:, :1]], 1)), a=linear(7)),
        "mixes features or rows, or drops some",
    ),
    "rows mixed": (
        lambda: By(lambda m, x: m.a(x - x.mean(0)), a=linear()),
        "mixes features or rows, or drops some",
    ),
    "places before rows": (
        lambda: By(lambda m, x: m.a(x.view(-1, 3)).view(len(x), 2, 3).sum(1), a=linear(3)),
        r"gets \[4, 3\] for a batch of 2: the batch must come first",
    ),
    "no layer": (
        lambda: By(lambda m, x: x[:, :3] + m.a(torch.ones_like(x).detach()), a=linear()),
        "The input reaches no layer with weights",
    ),
    "a raw parameter first": (ScaledFirst, "changes along the training"),
    "a parameter instead of a layer": (
        lambda: By(lambda m, x: m.a.weight @ x.T + 0 * x.sum(), a=linear()),
        "The input reaches no layer with weights",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_it_is_refused_and_left_as_found(name: str) -> None:
    make, message = REFUSED[name]
    model = made(make())
    method = XtrAIn(model, wander(model, 2))
    with left_as_found(model), pytest.raises(ValueError, match=message):
        method.attribute(drawn(2, 1, 6), 1)


def test_a_layer_that_is_called_again_on_its_own_output_is_refused() -> None:
    model = made(Twice())
    with pytest.raises(ValueError, match="'again' was called 2 times in one pass"):
        XtrAIn(model, wander(model, 2)).attribute(drawn(2, 1, 6), 1)


def test_the_message_says_what_is_supported() -> None:
    model = made(nn.Sequential(nn.LayerNorm(6), linear()))
    with pytest.raises(ValueError, match=r"Supported are .*nn\.Linear, Conv1d, Conv2d or Conv3d"):
        XtrAIn(model, wander(model, 2)).attribute(drawn(2, 1, 6), 1)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_places_are_found_in_low_precision_among_many_features(dtype: torch.dtype) -> None:
    turned = By(lambda m, x: m.a(x.flip(1).mT.flatten(1)), a=nn.Linear(6000, 2)).to(dtype).eval()
    x = torch.randn(2, 60, 100, dtype=dtype, generator=torch.Generator().manual_seed(0))
    trajectory = wander(turned, 2, size=1.0)
    change = trajectory.states[1]["a.weight"] - trajectory.states[0]["a.weight"]
    found = XtrAIn(turned, trajectory).attribute(x, 1).float()
    expected = change[1].view(100, 60).mT.flip(0).float() * x.float()
    size = expected.abs().max()
    assert ((found - expected).abs() / size).max() < (0.3 if dtype == torch.bfloat16 else 1e-3)
