from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from captum_tfa import GradDotScore
from captum_tfa.metrics.sgd_step import loss_changes
from tests.metrics.pairs import tiny_net, tiny_pairs
from tests.oracle.model_state import model_state


def by_optimizer(
    model: nn.Module, pairs: tuple[Tensor, ...], step_size: float, loss_fn: nn.Module
) -> Tensor:
    """One pair after the other, each with its own copy of the model and torch's own SGD."""
    changes = []
    for train, train_label, test, test_label in zip(*pairs, strict=True):
        own = copy.deepcopy(model)
        optimizer = torch.optim.SGD(own.parameters(), lr=step_size)
        before = loss_fn(own(test[None]), test_label[None]).sum().item()
        loss_fn(own(train[None]), train_label[None]).sum().backward()
        optimizer.step()
        changes.append(loss_fn(own(test[None]), test_label[None]).sum().item() - before)
    return torch.tensor(changes, dtype=torch.float64)


@pytest.mark.parametrize("step_size", [1e-3, 1.0])
def test_changes_are_those_of_a_copy_and_torchs_own_sgd(step_size: float) -> None:
    net, pairs = tiny_net(), tiny_pairs()
    expected = by_optimizer(net, pairs, step_size, nn.CrossEntropyLoss(reduction="none"))
    torch.testing.assert_close(
        loss_changes(net, *pairs, step_size), expected, rtol=1e-9, atol=1e-13
    )


def test_a_linear_model_has_a_closed_form() -> None:
    # L = e² with e = w·x − y: a step moves w by −2 η e x, and e' of the test by −2 η e x·x'.
    weight = torch.tensor([[0.5, -1.0]], dtype=torch.float64)
    model = nn.Linear(2, 1, bias=False).double().eval()
    with torch.no_grad():
        model.weight.copy_(weight)
    train, test = torch.randn(2, 4, 2, dtype=torch.float64).unbind()
    train_label, test_label = torch.randn(2, 4, 1, dtype=torch.float64).unbind()
    eta = 0.05
    miss, test_miss = train @ weight.T - train_label, test @ weight.T - test_label
    after = test_miss - 2 * eta * miss * (train * test).sum(1, keepdim=True)
    expected = (after**2 - test_miss**2)[:, 0]
    found = loss_changes(
        model, train, train_label, test, test_label, eta, nn.MSELoss(reduction="none")
    )
    torch.testing.assert_close(found, expected)


def test_a_small_step_changes_the_loss_by_minus_grad_dot() -> None:
    net, (train, train_labels, test, test_labels) = tiny_net(), tiny_pairs()
    step_size = 1e-6
    found = loss_changes(net, train, train_labels, test, test_labels, step_size)
    products = GradDotScore(net)(train, test, test_labels, train_labels).detach()
    torch.testing.assert_close(found / -step_size, products, rtol=1e-3, atol=1e-4)


def test_shared_and_frozen_parameters() -> None:
    class Tied(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first = nn.Linear(4, 4).double()
            self.second = nn.Linear(4, 4).double()
            self.second.weight = self.first.weight
            self.second.bias.requires_grad_(False)

        def forward(self, x: Tensor) -> Tensor:
            return self.second(torch.tanh(self.first(x)))

    model = Tied().eval()
    pairs = (
        torch.randn(3, 4).double(),
        torch.arange(3),
        torch.randn(3, 4).double(),
        torch.arange(3),
    )
    expected = by_optimizer(model, pairs, 0.1, nn.CrossEntropyLoss(reduction="none"))
    torch.testing.assert_close(loss_changes(model, *pairs, 0.1), expected)


def test_own_losses_and_outputs() -> None:
    net, (train, _, test, _) = tiny_net(), tiny_pairs()

    class InADict(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.net = net

        def forward(self, x: Tensor) -> dict[str, Tensor]:
            return {"logits": self.net(x)}

    labels = (torch.rand(6, 3) > 0.5).double()
    loss = nn.BCEWithLogitsLoss(reduction="none")
    expected = by_optimizer(net, (train, labels, test, labels), 0.1, loss)
    found = loss_changes(
        InADict().eval(), train, labels, test, labels, 0.1, loss, lambda out: out["logits"]
    )
    torch.testing.assert_close(found, expected)


@pytest.mark.parametrize("around", [torch.no_grad, torch.inference_mode])
def test_gradient_modes_of_the_caller_do_not_matter(around: Any) -> None:
    net, pairs = tiny_net(), tiny_pairs()
    expected = loss_changes(net, *pairs)
    with around():
        found = loss_changes(net, *pairs)
    torch.testing.assert_close(found, expected)


def test_the_model_is_left_as_it_was() -> None:
    net, pairs = tiny_net(), tiny_pairs()
    net[0].weight.grad = torch.ones_like(net[0].weight)
    before = model_state(net)
    loss_changes(net, *pairs)
    assert model_state(net) == before


def test_the_model_is_left_as_it_was_after_an_exception() -> None:
    net, pairs = tiny_net(), tiny_pairs()
    calls = []

    def fails_after_the_step(outputs: Tensor, target: Tensor) -> Tensor:
        calls.append(1)
        if len(calls) == 3:
            raise KeyError("the third loss")
        return nn.functional.cross_entropy(outputs, target, reduction="none")

    before = model_state(net)
    with pytest.raises(KeyError, match="the third loss"):
        loss_changes(net, *pairs, loss_fn=fails_after_the_step)
    assert model_state(net) == before


def test_models_in_training_mode_are_refused() -> None:
    with pytest.raises(ValueError, match=r"model\.eval\(\)"):
        loss_changes(tiny_net().train(), *tiny_pairs())


def test_bad_arguments_are_named() -> None:
    net, (train, labels, test, _) = tiny_net(), tiny_pairs()
    with pytest.raises(ValueError, match="6 training images with 6 labels and 5 test images"):
        loss_changes(net, train, labels, test[:5], labels)
    with pytest.raises(ValueError, match="step_size is 0"):
        loss_changes(net, train, labels, test, labels, step_size=0)
    with pytest.raises(ValueError, match="reduction='none'"):
        loss_changes(net, train, labels, test, labels, loss_fn=nn.CrossEntropyLoss())
