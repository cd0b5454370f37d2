"""Stored gradients, restricted to parameters and weighted, are those of dense gradients."""

from __future__ import annotations

import torch
from torch import Tensor

from captum_tfa import GradDotScore
from captum_tfa.gradients import StoredGradients
from tests.attr.small_nets import pictures, small_net

NAMES = ("conv1.weight", "norm.bias", "fc.weight")


def stored() -> StoredGradients:
    return GradDotScore(small_net()).test_gradients(pictures(3, 1), [0, 1, 2])


def squares(by_name: dict[str, Tensor]) -> Tensor:
    parts = [dense.flatten(1).square().sum(1) for dense in by_name.values()]
    return torch.stack(parts).sum(0)


def test_only_some_parameters() -> None:
    found = stored().only(NAMES)
    assert set(found.by_name) == set(NAMES)
    expected = {name: term.dense for name, term in stored().by_name.items() if name in NAMES}
    for name, dense in expected.items():
        torch.testing.assert_close(found.by_name[name].dense, dense)
    torch.testing.assert_close(found.squares, squares(expected))
    assert not stored().only(["none"]).squares.any()


def test_scaled_by_parameter() -> None:
    weights = {"conv1.weight": 2.0, "norm.bias": 0.5, "fc.weight": 0.0}
    found = stored().scaled(weights)
    assert set(found.by_name) == {"conv1.weight", "norm.bias"}
    expected = {
        name: weights[name] * term.dense
        for name, term in stored().by_name.items()
        if weights.get(name)
    }
    for name, dense in expected.items():
        torch.testing.assert_close(found.by_name[name].dense, dense)
    torch.testing.assert_close(found.squares, squares(expected))
