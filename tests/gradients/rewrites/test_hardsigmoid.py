from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from captum_tfa.gradients.rewrites.hardsigmoid import hardsigmoid
from tests.oracle import assert_layer_exact


def test_equals_torchs_function() -> None:
    input = torch.linspace(-5, 5, 101, dtype=torch.float64)
    torch.testing.assert_close(hardsigmoid(input), F.hardsigmoid(input), rtol=0, atol=1e-15)


@pytest.mark.parametrize("inplace", [False, True])
@pytest.mark.parametrize("kind", [nn.Hardsigmoid, nn.Hardswish])
def test_map_through_it_is_exact(kind: type[nn.Module], inplace: bool) -> None:
    layer = nn.Sequential(nn.Linear(4, 6), kind(inplace=inplace), nn.Linear(6, 3))
    assert_layer_exact(layer, [4], batch=3)
