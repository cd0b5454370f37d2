"""Batch, layer, group and instance normalisation."""

from __future__ import annotations

import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from captum_tfa import GradCosScore
from tests.oracle import SlowScore, assert_exact, assert_layer_exact, head

BATCH_NORMS = {0: nn.BatchNorm1d, 1: nn.BatchNorm1d, 2: nn.BatchNorm2d, 3: nn.BatchNorm3d}
INSTANCE_NORMS = {1: nn.InstanceNorm1d, 2: nn.InstanceNorm2d, 3: nn.InstanceNorm3d}
sizes = st.lists(st.integers(2, 3), max_size=3)


@given(channels=st.integers(1, 4), size=sizes, affine=st.booleans(), batch=st.integers(1, 3))
@settings(deadline=None, max_examples=20)
def test_any_batch_norm_is_exact(channels: int, size: list[int], affine: bool, batch: int) -> None:
    layer = BATCH_NORMS[len(size)](channels, affine=affine, eps=0.1)
    assert_layer_exact(layer, [channels, *size], batch)


@given(
    leading=sizes,
    normalized=st.lists(st.integers(3, 4), min_size=1, max_size=2),
    parts=st.sampled_from([(False, False), (True, False), (True, True)]),
    batch=st.integers(1, 3),
)
@settings(deadline=None, max_examples=20)
def test_any_layer_norm_is_exact(
    leading: list[int], normalized: list[int], parts: tuple[bool, bool], batch: int
) -> None:
    layer = nn.LayerNorm(normalized, elementwise_affine=parts[0], bias=parts[1], eps=0.1)
    assert_layer_exact(layer, [*leading, *normalized], batch)


@given(
    groups=st.integers(1, 3),
    width=st.integers(2, 3),
    size=sizes,
    affine=st.booleans(),
    batch=st.integers(1, 3),
)
@settings(deadline=None, max_examples=20)
def test_any_group_norm_is_exact(
    groups: int, width: int, size: list[int], affine: bool, batch: int
) -> None:
    layer = nn.GroupNorm(groups, groups * width, affine=affine, eps=0.1)
    assert_layer_exact(layer, [groups * width, *size], batch)


@given(
    channels=st.integers(1, 3),
    size=st.lists(st.integers(2, 3), min_size=1, max_size=3),
    affine=st.booleans(),
    statistics=st.booleans(),
    batch=st.integers(1, 3),
)
@settings(deadline=None, max_examples=20)
def test_any_instance_norm_is_exact(
    channels: int, size: list[int], affine: bool, statistics: bool, batch: int
) -> None:
    layer = INSTANCE_NORMS[len(size)](
        channels, affine=affine, track_running_stats=statistics, eps=0.1
    )
    assert_layer_exact(layer, [channels, *size], batch)


def test_a_scale_of_zero_still_has_a_gradient() -> None:
    # What the normalised activation is must not be found by dividing by the scale.
    for norm in (nn.BatchNorm2d(3), nn.GroupNorm(1, 3), nn.InstanceNorm2d(3, affine=True)):
        model = nn.Sequential(nn.Conv2d(2, 3, 2), norm, nn.Tanh(), *head(27)).double().eval()
        with torch.no_grad():
            model[1].weight.zero_()
            model[1].bias.normal_()
        train, test = torch.randn(2, 2, 4, 4).double(), torch.randn(1, 2, 4, 4).double()
        labels = torch.tensor([0, 1])
        # The first layer has no gradient, and the map goes through the scale's gradient alone.
        assert_exact(GradCosScore(model), SlowScore(model), train, test, labels[:1], labels)
