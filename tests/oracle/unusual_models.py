"""Small nets that use parameters in ways that hooks on modules would miss."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils import parametrizations, prune, spectral_norm, weight_norm

from tests.oracle.cases import CLASSES, Case, head


class RawParameters(nn.Module):
    """A class token, positions, a scale, and shifts on either side of an operator."""

    def __init__(self) -> None:
        super().__init__()
        self.token = nn.Parameter(torch.randn(1, 1, 4))
        self.positions = nn.Parameter(torch.randn(1, 4, 4))
        self.scale = nn.Parameter(torch.randn(4))
        self.shift = nn.Parameter(torch.randn(4, 1))
        self.temperature = nn.Parameter(torch.randn(1))
        self.out = head(16)

    def forward(self, input: Tensor) -> Tensor:
        tokens = torch.cat([self.token.expand(len(input), -1, -1), input], 1)
        tokens = (self.positions + tokens).tanh() * self.scale
        tokens = self.shift - tokens / (2 + self.temperature.sigmoid())
        return self.out(tokens.tanh())


class ScalarParameter(nn.Module):
    """A parameter without dimensions, as the temperature of CLIP."""

    def __init__(self) -> None:
        super().__init__()
        self.temperature = nn.Parameter(torch.randn(()))
        self.out = nn.Linear(6, CLASSES)

    def forward(self, input: Tensor) -> Tensor:
        return self.out(input.tanh()) * self.temperature.exp()


class InPlaceParameters(nn.Module):
    """Parameters that change an activation in place."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Linear(6, 4)
        self.scale = nn.Parameter(torch.randn(4))
        self.shift = nn.Parameter(torch.randn(4))
        self.out = nn.Linear(4, CLASSES)

    def forward(self, input: Tensor) -> Tensor:
        hidden = self.first(input)
        hidden *= self.scale
        hidden += self.shift
        hidden.add_(self.shift, alpha=0.5)
        return self.out(hidden.tanh())


class Functional(nn.Module):
    """Weights used by functions, matrix products, einsum and indexing, without a module."""

    def __init__(self) -> None:
        super().__init__()
        self.kernel = nn.Parameter(torch.randn(4, 3, 2, 2))
        self.matrix = nn.Parameter(torch.randn(9, 3))
        self.third = nn.Parameter(torch.randn(4, 3, 2))
        self.table = nn.Parameter(torch.randn(6, 2))
        self.register_buffer("where", torch.tensor([0, 5, 5, 1]))
        self.out = head(8)

    def forward(self, input: Tensor) -> Tensor:
        hidden = F.conv2d(input, self.kernel).tanh().flatten(2) @ self.matrix
        hidden = torch.einsum("bck,ckl->bcl", hidden, self.third)
        return self.out((hidden + self.table[self.where]).tanh())


class StandardizedConv2d(nn.Conv2d):
    """A convolution that standardises its weight: a subclass with another meaning."""

    def forward(self, input: Tensor) -> Tensor:
        weight = self.weight - self.weight.mean((1, 2, 3), keepdim=True)
        weight = weight / (weight.square().mean((1, 2, 3), keepdim=True) + 1e-3).sqrt()
        return F.conv2d(input, weight, self.bias, self.stride, self.padding)


class TwiceLinear(nn.Linear):
    """A linear layer that uses its weight twice in one call, once transposed."""

    def forward(self, input: Tensor) -> Tensor:
        return F.linear(F.linear(input, self.weight, self.bias).tanh(), self.weight.t())


class ChannelFirstLayerNorm(nn.LayerNorm):
    """The LayerNorm of ConvNeXt: the same parameters on another dimension."""

    def forward(self, input: Tensor) -> Tensor:
        normed = F.layer_norm(
            input.movedim(1, -1), self.normalized_shape, self.weight, self.bias, self.eps
        )
        return normed.movedim(-1, 1)


class Tied(nn.Module):
    """One linear layer under two names, whose weight a third place uses too."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Linear(4, 4)
        self.second = self.first
        self.third = nn.Linear(4, 4)
        self.third.weight = self.first.weight
        self.out = nn.Linear(4, CLASSES)

    def forward(self, input: Tensor) -> Tensor:
        hidden = self.second(self.first(input).tanh()).tanh()
        return self.out(F.linear(self.third(hidden).tanh(), self.first.weight.t()))


class CalledTwice(nn.Module):
    """A convolution and a normalisation called twice, on images of two sizes."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 3, 3, padding=1)
        self.norm = nn.BatchNorm2d(3)
        self.out = head(12)

    def forward(self, input: Tensor) -> Tensor:
        hidden = self.norm(self.conv(input)).tanh()
        hidden = self.norm(self.conv(F.avg_pool2d(hidden, 2))).tanh()
        return self.out(hidden)


class SequenceThenBatch(nn.Module):
    """One linear layer, called with the sequence first and with the batch first."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(4, 4)
        self.out = head(12)

    def forward(self, input: Tensor) -> Tensor:
        hidden = self.layer(input.transpose(0, 1)).tanh().transpose(0, 1)
        return self.out(self.layer(hidden).tanh())


class PositionNetwork(nn.Module):
    """A network that makes position biases and sees no example."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("grid", torch.linspace(-1, 1, 6)[:, None])
        self.network = nn.Sequential(nn.Linear(1, 4), nn.Tanh(), nn.Linear(4, 4))
        self.out = head(24)

    def forward(self, input: Tensor) -> Tensor:
        return self.out((input + self.network(self.grid)).tanh())


class Windows(nn.Module):
    """Windows folded into the batch dimension, and features standardised over them."""

    def __init__(self) -> None:
        super().__init__()
        self.inside = nn.Linear(4, 4)
        self.conv = nn.Conv1d(2, 3, 2)
        self.out = head(18)

    def forward(self, input: Tensor) -> Tensor:
        windows = input.unflatten(1, (2, 2)).flatten(0, 1)
        windows = self.conv(self.inside(windows).tanh())
        return self.out(windows.tanh().unflatten(0, (len(input), 2)))


class Residual(nn.Module):
    """In-place activations and an in-place sum, as ResNets have them."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(3, 4, 3, padding=1, bias=False)
        self.norm = nn.BatchNorm2d(4)
        self.second = nn.Conv2d(4, 4, 3, padding=1)
        self.act = nn.ReLU(inplace=True)
        self.out = head(64)

    def forward(self, input: Tensor) -> Tensor:
        hidden = self.act(self.norm(self.first(input)))
        branch = self.second(hidden)
        branch += hidden
        return self.out(F.silu(branch, inplace=True))


def _frozen(names: tuple[str, ...]) -> nn.Sequential:
    model = nn.Sequential(
        nn.Conv2d(3, 4, 2), nn.BatchNorm2d(4), nn.Tanh(), nn.Conv2d(4, 4, 2), nn.Tanh(), *head(16)
    )
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(name not in names)
    return model


def _pruned() -> nn.Sequential:
    model = nn.Sequential(nn.Linear(6, 4), nn.Tanh(), nn.Linear(4, CLASSES))
    prune.l1_unstructured(model[0], "weight", 0.3)
    return model


def _spectral() -> nn.Sequential:
    return nn.Sequential(
        spectral_norm(nn.Conv2d(3, 4, 2)),
        nn.Tanh(),
        parametrizations.spectral_norm(nn.Conv2d(4, 4, 2)),
        nn.Tanh(),
        *head(16),
    )


def _weight_norm() -> nn.Sequential:
    return nn.Sequential(
        weight_norm(nn.Linear(6, 4)),
        nn.Tanh(),
        parametrizations.weight_norm(nn.Linear(4, 4)),
        nn.Tanh(),
        parametrizations.orthogonal(nn.Linear(4, 4), orthogonal_map="cayley"),
        nn.Linear(4, CLASSES),
    )


@dataclass
class Result:
    """What some models return."""

    logits: Tensor
    loss: None = None


class Returning(nn.Module):
    """Returns its logits in a dictionary, a tuple, a dataclass, or classes first."""

    def __init__(self, kind: str) -> None:
        super().__init__()
        self.kind = kind
        self.layer = nn.Linear(6, CLASSES)

    def forward(self, input: Tensor) -> object:
        logits = self.layer(input.tanh())
        return {
            "dict": {"features": input, "logits": logits},
            "tuple": (logits, input),
            "dataclass": Result(logits),
            "classes first": logits.t(),
        }[self.kind]


UNUSUAL_NETS: dict[str, Case] = {
    "raw parameters": Case(RawParameters, ((3, 4),)),
    "scalar parameter": Case(ScalarParameter, ((6,),)),
    "in-place parameters": Case(InPlaceParameters, ((6,),)),
    "functional weights": Case(Functional, ((3, 4, 4),)),
    "subclass that standardises its weight": Case(
        lambda: nn.Sequential(StandardizedConv2d(3, 4, 2), nn.Tanh(), *head(36)), ((3, 4, 4),)
    ),
    "subclass that uses its weight twice": Case(
        lambda: nn.Sequential(TwiceLinear(6, 4), nn.Tanh(), nn.Linear(6, CLASSES)), ((6,),)
    ),
    "subclass on another dimension": Case(
        lambda: nn.Sequential(nn.Conv2d(3, 4, 2), ChannelFirstLayerNorm(4), nn.Tanh(), *head(36)),
        ((3, 4, 4),),
    ),
    "tied modules": Case(Tied, ((4,),)),
    "module called twice": Case(CalledTwice, ((3, 4, 4),)),
    "module called with two layouts": Case(SequenceThenBatch, ((3, 4),)),
    "network of positions": Case(PositionNetwork, ((6, 4),)),
    "windows folded into the batch": Case(Windows, ((4, 4),)),
    "weight norm": Case(_weight_norm, ((6,),)),
    "spectral norm": Case(_spectral, ((3, 4, 4),)),
    "pruned": Case(_pruned, ((6,),)),
    "in-place activations": Case(Residual, ((3, 4, 4),)),
    "first layers frozen": Case(lambda: _frozen(("0.weight", "0.bias", "1.weight")), ((3, 4, 4),)),
    "last layer and a bias frozen": Case(
        lambda: _frozen(("3.bias", "6.weight", "6.bias")), ((3, 4, 4),)
    ),
}

OUTPUT_NETS: dict[str, Case] = {
    "output in a dict": Case(lambda: Returning("dict"), ((6,),), lambda out: out["logits"]),
    "output in a tuple": Case(lambda: Returning("tuple"), ((6,),), lambda out: out[0]),
    "output in a dataclass": Case(lambda: Returning("dataclass"), ((6,),), lambda out: out.logits),
    "output with classes first": Case(
        lambda: Returning("classes first"), ((6,),), lambda out: out.t()
    ),
}
