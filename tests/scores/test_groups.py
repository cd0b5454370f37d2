"""Groups of parameters: every parameter that counts in exactly one."""

from __future__ import annotations

from typing import Any

import pytest
from torch import nn

from captum_tfa.scores.groups import groups_of
from tests.attr.small_nets import ScaledFirst, small_net


def test_parameters_and_layers_come_in_the_models_order() -> None:
    model = small_net()
    names = [name for name, _ in model.named_parameters()]
    assert groups_of(model, None, "parameter") == {name: (name,) for name in names}
    assert groups_of(model, None, "layer") == {
        layer: (f"{layer}.weight", f"{layer}.bias") for layer in ("conv1", "norm", "conv2", "fc")
    }
    assert list(groups_of(ScaledFirst(), None, "layer")) == ["scale", "hidden", "out"]


def test_only_what_counts_is_grouped() -> None:
    model = small_net()
    model.conv2.bias.requires_grad_(False)
    found = groups_of(model, ["conv2", "fc.weight"], "layer")
    assert found == {"conv2": ("conv2.weight",), "fc": ("fc.weight",)}


def test_modules_and_groups_of_ones_own() -> None:
    model = nn.Sequential(small_net(), nn.Linear(3, 3))
    assert {name: len(inside) for name, inside in groups_of(model, None, ["1", "0"]).items()} == {
        "1": 2,
        "0": 8,
    }
    own = {
        "late": [model[1], "0.fc"],
        "biases": lambda name: name in ("0.conv1.bias", "0.norm.bias", "0.conv2.bias"),
        "weights": ["0.conv1.weight", "0.norm.weight", "0.conv2.weight"],
    }
    found = groups_of(model, None, own)
    assert list(found) == ["late", "biases", "weights"]
    assert found["biases"] == ("0.conv1.bias", "0.norm.bias", "0.conv2.bias")
    assert found["late"] == ("0.fc.weight", "0.fc.bias", "1.weight", "1.bias")


def test_a_shared_parameter_goes_by_its_first_name() -> None:
    model = nn.Sequential(nn.Linear(3, 3), nn.Linear(3, 3))
    model[1].weight = model[0].weight
    assert groups_of(model, None, "layer") == {"0": ("0.weight", "0.bias"), "1": ("1.bias",)}


@pytest.mark.parametrize(
    ("given", "error", "message"),
    [
        ("stage", ValueError, "by_group is 'stage'; it must be 'parameter', 'layer'"),
        (3, TypeError, "by_group is a int; give"),
        ([], TypeError, "by_group is a list without a group"),
        (["fc"], ValueError, r"leaves out conv1\.weight, conv1\.bias, norm\.weight, norm\.bias an"),
        (
            {"a": ["conv1", "norm", "conv2"], "b": ["fc", "conv2.bias"]},
            ValueError,
            r"groups 'a' and 'b' both hold conv2\.bias",
        ),
        ({"a": ["conv3"]}, ValueError, "no parameter or module named 'conv3'"),
        ({"a": 3}, TypeError, "holds a int"),
    ],
)
def test_what_is_no_grouping_is_refused(given: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        groups_of(small_net(), None, given)


def test_a_group_without_a_parameter_that_counts_is_refused() -> None:
    with pytest.raises(ValueError, match="group 'conv1' holds no parameter that counts"):
        groups_of(small_net(), ["fc"], ["conv1", "fc"])
