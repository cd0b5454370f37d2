from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from captum_tfa import GradCosScore, GradDotScore
from captum_tfa.gradients.selection import by_layer, choose
from tests.oracle import EXACT, NETS, SlowScore, assert_exact, cos, dot, relative_error


def _net() -> nn.Sequential:
    """Several equal layers, so that each costs the same, and a head."""
    layers: list[nn.Module] = []
    for _ in range(5):
        layers += [nn.Conv2d(6, 6, 3, padding=1), nn.GELU()]
    body = nn.Sequential(*layers)
    return (
        nn.Sequential(body, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(6, 5)).double().eval()
    )


CHOICES: dict[str, tuple[Callable[[nn.Sequential], Any], set[str]]] = {
    "all": (lambda net: None, {f"0.{n}.{p}" for n in range(0, 10, 2) for p in ("weight", "bias")}
            | {"3.weight", "3.bias"}),
    "name of a parameter": (lambda net: ["3.weight"], {"3.weight"}),
    "bare name": (lambda net: "3", {"3.weight", "3.bias"}),
    "name of a module": (lambda net: ["0.8", "3.bias"], {"0.8.weight", "0.8.bias", "3.bias"}),
    "no half names": (lambda net: ["0.0"], {"0.0.weight", "0.0.bias"}),
    "tuple": (lambda net: ("3", "0.0.bias"), {"3.weight", "3.bias", "0.0.bias"}),
    "predicate": (lambda net: lambda name: name.endswith("8.bias"), {"0.8.bias"}),
    "module": (lambda net: net[3], {"3.weight", "3.bias"}),
    "modules": (lambda net: [net[3], net[0][8]], {"3.weight", "3.bias", "0.8.weight", "0.8.bias"}),
    "modules and names": (lambda net: [net[3], "0.8.bias"], {"3.weight", "3.bias", "0.8.bias"}),
}  # fmt: skip


@pytest.mark.parametrize("name", CHOICES)
def test_chosen_parameters_alone_count(name: str) -> None:
    net = _net()
    choice, expected = CHOICES[name]
    assert set(choose(net, choice(net))) == expected
    images = torch.randn(3, 6, 4, 4, dtype=torch.float64)
    test, labels = torch.randn(1, 6, 4, 4, dtype=torch.float64), torch.tensor([0, 1, 2])
    for kind, cosine in ((GradCosScore, True), (GradDotScore, False)):
        slow = SlowScore(net, formula=cos if cosine else dot, parameters=expected.__contains__)
        score = kind(net, parameters=choice(net))
        assert_exact(score, slow, images, test, labels[:1], labels)
        gradients = slow.gradient((test,), labels[:1])
        norm = sum(gradient.square().sum() for gradient in gradients)
        torch.testing.assert_close(score.test_gradients(test, 0).squares, norm[None])


def test_generators_of_names_may_be_used_more_than_once() -> None:
    net = _net()
    images, labels = torch.randn(2, 6, 4, 4, dtype=torch.float64), torch.tensor([0, 1])
    score = GradCosScore(net, parameters=(name for name in ["3.weight", "0.8"]))
    slow = SlowScore(net, parameters=lambda name: name == "3.weight" or name.startswith("0.8."))
    assert_exact(score, slow, images, images.flip(0), labels, labels)


def test_frozen_parameters_never_count() -> None:
    net = _net()
    net[3].weight.requires_grad_(False)
    assert set(choose(net, ["3"])) == {"3.bias"}
    assert "3.weight" not in choose(net)


def test_freezing_after_construction_is_followed() -> None:
    net = _net()
    score = GradCosScore(net)
    images, labels = torch.randn(2, 6, 4, 4, dtype=torch.float64), torch.tensor([0, 1])
    assert_exact(score, SlowScore(net), images, images.flip(0), labels, labels)
    net[0].requires_grad_(False)
    assert_exact(score, SlowScore(net), images, images.flip(0), labels, labels)
    net[0].requires_grad_(True)
    assert_exact(score, SlowScore(net), images, images.flip(0), labels, labels)


@pytest.mark.parametrize("name", ["tied modules", "module called twice"])
def test_parts_of_modules_used_several_times(name: str) -> None:
    case = NETS[name]
    model = case.model()
    chosen = {"tied modules": "first.weight", "module called twice": "norm.bias"}[name]
    labels = torch.tensor([0, 1])
    assert_exact(
        GradCosScore(model, parameters=[chosen]),
        SlowScore(model, parameters=chosen.__eq__),
        case.inputs(2),
        case.inputs(1, seed=2),
        labels[:1],
        labels,
    )


def _flops(score: GradCosScore, train: torch.Tensor, test: torch.Tensor, mapped: bool) -> int:
    train = train.requires_grad_(mapped)
    with FlopCounterMode(display=False) as counter:
        scores = score(train, test, 1, 2)
        if mapped:
            scores.sum().backward()
    return int(counter.get_total_flops())


def test_late_parameters_alone_cost_less() -> None:
    net = _net()
    train, test = torch.randn(4, 6, 12, 12).double(), torch.randn(1, 6, 12, 12).double()
    with FlopCounterMode(display=False) as counter:
        net(train)
    forward = int(counter.get_total_flops())
    late, everything = GradCosScore(net, parameters=["3"]), GradCosScore(net)
    # The test image adds a quarter of a forward pass of the four training images. Beside the
    # forward passes a map of the head's score needs the way back to the pixels, and a score
    # without a map needs nothing.
    assert _flops(late, train, test, mapped=True) < 2.4 * forward
    assert _flops(everything, train, test, mapped=True) > 5 * forward
    with torch.no_grad():
        assert _flops(late, train, test, mapped=False) < 1.4 * forward


def test_late_parameters_alone_make_no_second_order_graph_below() -> None:
    net = _net()
    train, test = torch.randn(2, 6, 4, 4).double(), torch.randn(1, 6, 4, 4).double()

    def nodes(choice: Any) -> list[str]:
        scores = GradCosScore(net, parameters=choice)(train.requires_grad_(), test, 1, 2)
        seen, waiting = set(), [scores.grad_fn]
        while waiting:
            node = waiting.pop()
            if node is None or node in seen:
                continue
            seen.add(node)
            waiting += [below for below, _ in node.next_functions]
        return [node.name() for node in seen]

    late, everything = nodes(["3"]), nodes(None)
    assert sum("Gelu" in name for name in late) == 5  # once each: the forward pass
    assert sum("Gelu" in name for name in everything) > 5
    assert len(late) < len(everything) / 2


# Errors


def test_unknown_names_are_told_with_the_known_ones() -> None:
    with pytest.raises(
        ValueError, match=r"no parameter or module named 'layer4'.*0\.0\.weight, .*"
    ):
        GradCosScore(_net(), parameters=["layer4"])
    with pytest.raises(ValueError, match=r"named '3\.wei'"):
        GradCosScore(_net(), parameters=["3.wei"])


def test_modules_of_other_models_are_refused() -> None:
    with pytest.raises(
        ValueError, match="The module Linear in `parameters` is not part of the mod"
    ):
        GradCosScore(_net(), parameters=nn.Linear(6, 5))


@pytest.mark.parametrize("choice", [3, [3], [None], 2.5, [["3.weight"]]])
def test_choices_of_another_kind_are_refused(choice: object) -> None:
    with pytest.raises(
        TypeError, match=r"`parameters` holds a .*; give names of parameters or mod"
    ):
        GradCosScore(_net(), parameters=choice)  # type: ignore[arg-type]


@pytest.mark.parametrize("choice", [[], lambda name: False, ["0.1"], nn.GELU()])
def test_choices_that_leave_nothing_are_refused(choice: object) -> None:
    net = _net()
    if isinstance(choice, nn.Module):
        choice = net[0][1]
    with pytest.raises(
        ValueError, match=r"leaves no trainable|no parameter or module named '0\.1'"
    ):
        GradCosScore(net, parameters=choice)  # type: ignore[arg-type]


def test_choices_of_frozen_parameters_only_are_refused() -> None:
    net = _net()
    net[3].requires_grad_(False)
    with pytest.raises(ValueError, match=r"leaves no trainable parameter: .*requires_grad=True"):
        GradCosScore(net, parameters=["3"])


def test_models_without_trainable_parameters_are_refused() -> None:
    with pytest.raises(ValueError, match=r"The model has no trainable parameter: .*requires_grad_"):
        GradCosScore(nn.Flatten())
    with pytest.raises(ValueError, match="The model has no trainable parameter"):
        GradCosScore(_net().requires_grad_(False))


class Tied(nn.Module):
    """Reads with the table with which it wrote."""

    def __init__(self) -> None:
        super().__init__()
        self.table, self.head = nn.Linear(4, 4, bias=False), nn.Linear(4, 4)
        self.head.weight = self.table.weight

    def forward(self, input: Tensor) -> Tensor:
        return self.head(self.table(input).tanh())


def test_a_tied_parameter_counts_under_each_of_its_names() -> None:
    net = Tied().double().eval()
    train, test = torch.randn(3, 4).double(), torch.randn(1, 4).double()
    labels = torch.tensor([0, 1, 2])
    slow = SlowScore(net)  # both parameters: the table's weight and the head's bias
    expected = slow(train, test, 1, labels)
    for choice in (["head"], net.head, ["head.weight", "head.bias"], ["table", "head.bias"]):
        scores = GradCosScore(net, parameters=choice)(train, test, 1, labels)
        assert relative_error(scores, expected) < EXACT
    alone = SlowScore(net, parameters=lambda name: name == "table.weight")(train, test, 1, labels)
    for choice in (["head.weight"], ["table"], net.table, lambda name: name == "head.weight"):
        scores = GradCosScore(net, parameters=choice)(train, test, 1, labels)
        assert relative_error(scores, alone) < EXACT


def test_layers_are_the_modules_that_own_parameters() -> None:
    names = ["scale", "a.weight", "a.bias", "b.c.weight", "b.weight"]
    assert by_layer(names) == {
        "scale": ["scale"],
        "a": ["a.weight", "a.bias"],
        "b.c": ["b.c.weight"],
        "b": ["b.weight"],
    }
