"""A pass leaves no tensor behind in the model, and takes none of an earlier pass."""

from __future__ import annotations

import types
from collections import deque
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from captum.attr import NoiseTunnel
from torch import Tensor, nn
from torch.nn.utils import parametrize
from torch.nn.utils.parametrizations import weight_norm

from captum_tfa import GradCosScore, ScoreInfluence, TrainingGradCos
from captum_tfa.gradients.as_found import as_found
from tests.oracle import EXACT, SlowScore, relative_error

TRAIN, TEST = torch.randn(3, 4).double(), torch.randn(1, 4).double()
LABELS = torch.tensor([0, 1, 2])


class Keeps(nn.Module):
    """Keeps its normalised weight until it is trained again, in one of several places."""

    def __init__(self, place: str) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(5, 4))
        self.place = place
        self.train()

    def train(self, mode: bool = True) -> Keeps:
        self.kept: Any = None
        self.table: dict[str, Tensor] = {}
        self.stack: list[Tensor] = []
        self.queue: deque[Tensor] = deque()
        self.object = types.SimpleNamespace(nested={"deeper": []})
        return super().train(mode)

    def forward(self, input: Tensor) -> Tensor:
        if self.place == "attribute":
            self.kept = F.normalize(self.weight) if self.kept is None else self.kept
            return F.linear(input, self.kept)
        if self.place == "dict":
            return F.linear(input, self.table.setdefault("w", F.normalize(self.weight)))
        held: Any = {
            "list": self.stack,
            "deque": self.queue,
            "object": self.object.nested["deeper"],
        }[self.place]
        if not held:
            held.append(F.normalize(self.weight))
        return F.linear(input, held[0])

    def held(self) -> list[Any]:
        inside = self.object.nested["deeper"]
        return [self.kept, dict(self.table), list(self.stack), list(self.queue), list(inside)]


def _net(place: str) -> nn.Module:
    return nn.Sequential(Keeps(place), nn.Tanh(), nn.Linear(5, 3)).double().eval()


PLACES = pytest.mark.parametrize("place", ["attribute", "dict", "list", "deque", "object"])


@PLACES
def test_a_weight_that_is_kept_is_made_anew_in_every_pass(place: str) -> None:
    net = _net(place)
    expected = SlowScore(net)(TRAIN, TEST, 1, LABELS)
    net.train().eval()
    empty = net[0].held()
    score = GradCosScore(net)
    for _ in range(3):
        assert relative_error(score(TRAIN, TEST, 1, LABELS), expected) < EXACT
        assert net[0].held() == empty
    TrainingGradCos(net).attribute(TRAIN, LABELS, (TEST, 1))
    ScoreInfluence(score, list(zip(TRAIN, LABELS, strict=True))).influence((TEST, 1))
    assert net[0].held() == empty


def test_cached_parametrisations_are_computed_in_every_pass() -> None:
    net = nn.Sequential(weight_norm(nn.Linear(4, 5)), nn.Tanh(), nn.Linear(5, 3)).double().eval()
    expected = SlowScore(net)(TRAIN, TEST, 1, LABELS)
    score = GradCosScore(net)
    with parametrize.cached():
        net(TRAIN)
        kept = dict(parametrize._cache)
        for _ in range(3):
            assert relative_error(score(TRAIN, TEST, 1, LABELS), expected) < EXACT
        assert parametrize._cache == kept
        assert parametrize._cache_enabled == 1


class Notes(nn.Linear):
    """Notes its output, counts its passes, and writes into a buffer."""

    def __init__(self) -> None:
        super().__init__(4, 3)
        self.register_buffer("seen", torch.zeros(()))
        self.passes = 0
        self.sizes: list[int] = []
        self.output: Tensor | None = None

    def forward(self, input: Tensor) -> Tensor:
        self.passes += 1
        self.sizes.append(len(input))
        self.seen += 1
        self.output = super().forward(input)
        self.fresh = self.output
        return self.output


def test_tensors_are_put_back_and_counters_go_on() -> None:
    net = Notes().double().eval()
    NoiseTunnel(TrainingGradCos(net)).attribute(
        TRAIN, nt_samples=2, stdevs=0.1, target=LABELS, additional_forward_args=(TEST, 1)
    )
    assert net.output is None
    assert not hasattr(net, "fresh")
    assert float(net.seen) == 0
    # The list is the model's own also in the twin that the test image goes through.
    assert net.passes == 1
    assert sum(net.sizes) == 1 + 2 * 3


def test_what_a_failing_pass_has_set_is_put_back() -> None:
    net = Notes().double()

    def fails() -> None:
        with as_found(net):
            net(TRAIN)
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fails()
    assert net.output is None
    assert float(net.seen) == 0


def test_counters_are_put_back_where_nobody_asked_for_the_pass() -> None:
    net = Notes().double()
    with as_found(net, counters=True):
        net(TRAIN)
    assert (net.passes, net.sizes) == (0, [])


@pytest.mark.filterwarnings("ignore:.*torch.jit.script. is deprecated:FutureWarning")
def test_statistics_of_scripted_modules_are_put_back() -> None:
    net = torch.jit.script(nn.BatchNorm1d(4).double())
    before = {name: buffer.clone() for name, buffer in net.named_buffers()}
    with as_found(net):
        net(TRAIN)
        assert not torch.equal(net.running_mean, before["running_mean"])
    for name, buffer in net.named_buffers():
        assert torch.equal(buffer, before[name])


def test_compiled_models_run_as_they_were_written() -> None:
    net = nn.Sequential(nn.Linear(4, 5), nn.Tanh(), nn.Linear(5, 3)).double().eval()
    expected = SlowScore(net)(TRAIN, TEST, 1, LABELS)
    net.compile(backend="eager")
    net[0].compile(backend="eager")
    compiled = net._compiled_call_impl, net[0]._compiled_call_impl
    score = GradCosScore(net)
    for _ in range(2):
        assert relative_error(score(TRAIN, TEST, 1, LABELS), expected) < EXACT
        TrainingGradCos(net).attribute(TRAIN, LABELS, (TEST, 1))
        net(TRAIN)
    assert (net._compiled_call_impl, net[0]._compiled_call_impl) == compiled


def test_compiled_functions_run_as_they_were_written() -> None:
    class Compiled(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = nn.Linear(4, 3)

        @torch.compile(backend="eager")
        def forward(self, input: Tensor) -> Tensor:
            return self.layer(input).tanh()

    net = Compiled().double().eval()
    net(TRAIN)
    assert (
        relative_error(
            GradCosScore(net)(TRAIN, TEST, 1, LABELS), SlowScore(net)(TRAIN, TEST, 1, LABELS)
        )
        < EXACT
    )
