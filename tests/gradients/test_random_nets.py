"""Nets put together at random from the operations that a model can be made of are exact."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from captum_tfa import GradCosScore, ScoreInfluence, TrainingGradCos
from tests.oracle import EXACT, SlowScore, randomized, relative_error, slow_map

WIDTH, SIDE, CLASSES = 4, 4, 3

Make = Callable[[Any], nn.Module]


class Apply(nn.Module):
    """A function of the activation, with parameters of its own if it wants some."""

    def __init__(self, function: Callable[..., Tensor], *shapes: tuple[int, ...]) -> None:
        super().__init__()
        self.function = function
        self.own = nn.ParameterList(nn.Parameter(torch.randn(shape)) for shape in shapes)

    def forward(self, x: Tensor) -> Tensor:
        return self.function(x, *self.own)


class Around(nn.Module):
    """A block and its input, brought together."""

    def __init__(self, block: nn.Module, join: Callable[[Tensor, Tensor], Tensor]) -> None:
        super().__init__()
        self.block, self.join = block, join

    def forward(self, x: Tensor) -> Tensor:
        return self.join(x, self.block(x))


class AsTokens(nn.Module):
    """A layer of tokens ``[B, T, W]`` or ``[T, B, W]`` for images."""

    def __init__(self, layer: nn.Module, batch_first: bool = True) -> None:
        super().__init__()
        self.layer, self.batch_first = layer, batch_first

    def forward(self, x: Tensor) -> Tensor:
        tokens = x.flatten(2).transpose(1, 2)
        if not self.batch_first:
            tokens = tokens.transpose(0, 1)
        out = self.layer(tokens)
        if not self.batch_first:
            out = out.transpose(0, 1)
        return out.transpose(1, 2).reshape(x.shape)


class Attention(nn.Module):
    def __init__(self, **settings: Any) -> None:
        super().__init__()
        self.inner = nn.MultiheadAttention(WIDTH, 2, **settings)

    def forward(self, x: Tensor) -> Tensor:
        return self.inner(x, x, x, need_weights=False)[0]


class Recurrent(nn.Module):
    def __init__(self, kind: type[nn.RNNBase], **settings: Any) -> None:
        super().__init__()
        self.inner = kind(WIDTH, WIDTH, **settings)

    def forward(self, x: Tensor) -> Tensor:
        return self.inner(x)[0]


class Windows(nn.Module):
    """A layer of windows that are folded into the batch, as in Swin."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(WIDTH, WIDTH)

    def forward(self, x: Tensor) -> Tensor:
        batch = len(x)
        folded = x.view(batch, WIDTH, 2, 2, 2, 2).permute(0, 2, 4, 3, 5, 1).reshape(-1, 4, WIDTH)
        mixed = self.layer(folded).tanh().view(batch, 2, 2, 2, 2, WIDTH)
        return mixed.permute(0, 5, 1, 3, 2, 4).reshape(x.shape)


def _conv(draw: Any) -> nn.Module:
    size = draw(st.sampled_from([1, 3]))
    return nn.Conv2d(
        WIDTH,
        WIDTH,
        size,
        padding=size // 2,
        groups=draw(st.sampled_from([1, 2, WIDTH])),
        bias=draw(st.booleans()),
        padding_mode=draw(st.sampled_from(["zeros", "reflect", "circular", "replicate"])),
    )


def _down_and_up(draw: Any) -> nn.Module:
    down = nn.Conv2d(WIDTH, WIDTH, 2, stride=2, groups=draw(st.sampled_from([1, 2])))
    up = nn.ConvTranspose2d(WIDTH, WIDTH, 2, stride=2, groups=draw(st.sampled_from([1, 2])))
    return nn.Sequential(down, up)


def _tied(draw: Any) -> nn.Module:
    layer = nn.Conv2d(WIDTH, WIDTH, 1)
    other = nn.Conv2d(WIDTH, WIDTH, 1)
    other.weight = layer.weight
    return nn.Sequential(layer, nn.Tanh(), *([layer] if draw(st.booleans()) else [other]))


def _norm(draw: Any) -> nn.Module:
    return draw(
        st.sampled_from(
            [
                lambda: nn.BatchNorm2d(WIDTH, affine=draw(st.booleans())),
                lambda: nn.GroupNorm(2, WIDTH),
                lambda: nn.InstanceNorm2d(WIDTH, affine=True),
                lambda: nn.LayerNorm([WIDTH, SIDE, SIDE]),
                lambda: AsTokens(nn.LayerNorm(WIDTH)),
                lambda: AsTokens(nn.RMSNorm(WIDTH)),
                lambda: nn.LocalResponseNorm(2),
            ]
        )
    )()


def _activation(draw: Any) -> nn.Module:
    inplace = draw(st.booleans())
    return draw(
        st.sampled_from(
            [
                lambda: nn.Sequential(nn.Conv2d(WIDTH, WIDTH, 1), nn.ELU(inplace=inplace)),
                lambda: nn.Sequential(nn.Conv2d(WIDTH, WIDTH, 1), nn.SiLU(inplace=inplace)),
                lambda: nn.Sequential(nn.Conv2d(WIDTH, WIDTH, 1), nn.Mish(inplace=inplace)),
                lambda: nn.GELU(),
                lambda: nn.Softplus(),
                lambda: nn.PReLU(WIDTH),
                lambda: nn.Softmax(1),
                lambda: nn.Hardswish(),
                lambda: nn.Tanh(),
            ]
        )
    )()


def _functional(draw: Any) -> nn.Module:
    return draw(
        st.sampled_from(
            [
                lambda: Apply(lambda x, p: x * p + 1, (WIDTH, 1, 1)),
                lambda: Apply(lambda x, p: x + p, (1, WIDTH, SIDE, SIDE)),
                lambda: Apply(lambda x, p: torch.einsum("bchw,cd->bdhw", x, p), (WIDTH, WIDTH)),
                lambda: Apply(
                    lambda x, p: (x.permute(0, 2, 3, 1) @ p).permute(0, 3, 1, 2), (WIDTH,) * 2
                ),
                lambda: Apply(lambda x, p: F.conv2d(x, F.normalize(p)), (WIDTH, WIDTH, 1, 1)),
                lambda: Apply(
                    lambda x, p, q: F.conv2d(x, p / (1 + p.abs()), q),
                    (WIDTH, WIDTH, 1, 1),
                    (WIDTH,),
                ),
                lambda: Apply(lambda x, p: torch.cat([x[:, :2], x[:, 2:] * p.sigmoid()], 1), (1,)),
                lambda: Apply(lambda x: x.roll(1, 2).flip(3)),
                lambda: Apply(lambda x: x - x.mean((2, 3), keepdim=True)),
                lambda: Apply(lambda x: x / (1 + x.square().sum(1, keepdim=True)).sqrt()),
                lambda: Apply(lambda x: F.interpolate(F.avg_pool2d(x, 2), scale_factor=2.0)),
                lambda: Apply(
                    lambda x: F.fold(F.unfold(x, 2, stride=2), (SIDE, SIDE), 2, stride=2)
                ),
                lambda: Apply(lambda x: torch.stack(x.unbind(1)[::-1], 1)),
            ]
        )
    )()


def _tokens(draw: Any) -> nn.Module:
    first = draw(st.booleans())
    return draw(
        st.sampled_from(
            [
                lambda: AsTokens(Attention(batch_first=first, bias=draw(st.booleans())), first),
                lambda: AsTokens(nn.Linear(WIDTH, WIDTH), first),
                lambda: AsTokens(Recurrent(nn.GRU, batch_first=first), first),
                lambda: AsTokens(Recurrent(nn.LSTM, batch_first=first), first),
                lambda: AsTokens(
                    nn.TransformerEncoderLayer(WIDTH, 2, 6, 0.0, batch_first=first), first
                ),
                Windows,
            ]
        )
    )()


def _squeeze(draw: Any) -> nn.Module:
    gate = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Conv2d(WIDTH, WIDTH, 1), nn.Sigmoid())
    return Around(gate, lambda x, y: x * y)


def _block(draw: Any, depth: int = 0) -> nn.Module:
    kinds = [_conv, _down_and_up, _tied, _norm, _activation, _functional, _tokens, _squeeze]
    if depth == 0 and draw(st.booleans()):
        inside = nn.Sequential(*(_block(draw, 1) for _ in range(2)))
        return Around(inside, draw(st.sampled_from([torch.add, torch.sub, torch.mul])))
    return draw(st.sampled_from(kinds))(draw)


def _net(draw: Any) -> nn.Module:
    blocks = [_block(draw) for _ in range(draw(st.integers(1, 4)))]
    net = nn.Sequential(
        nn.Conv2d(2, WIDTH, 1), *blocks, nn.Flatten(), nn.Linear(WIDTH * SIDE * SIDE, CLASSES)
    )
    randomized(net)
    return net.double().eval()


@settings(max_examples=60, deadline=None, derandomize=True)
@given(data=st.data())
def test_scores_maps_and_rankings_of_random_nets_are_exact(data: st.DataObject) -> None:
    torch.manual_seed(data.draw(st.integers(0, 999)))
    net = _net(data.draw)
    batch = data.draw(st.integers(1, 4))
    train, test = torch.randn(batch, 2, SIDE, SIDE).double(), torch.randn(1, 2, SIDE, SIDE).double()
    labels = torch.arange(batch) % CLASSES
    slow = SlowScore(net)
    expected = slow(train, test, 1, labels).detach()
    if not bool(expected.isfinite().all()):
        return
    score = GradCosScore(net)
    assert relative_error(score(train, test, 1, labels).detach(), expected) < EXACT
    size = data.draw(st.sampled_from([None, 1, 2, 3]))
    maps = TrainingGradCos(net).attribute(train, labels, (test, 1), internal_batch_size=size)
    right = slow_map(slow, train, test, 1, labels)
    for one, other in zip(maps, right, strict=True):
        assert relative_error(one, other) < EXACT or float(other.norm()) < 1e-12
    pairs = list(zip(train, labels.tolist(), strict=True))
    ranking = ScoreInfluence(score, pairs, batch_size=size or 4).influence((test, 1))
    assert relative_error(ranking[0], expected) < EXACT
