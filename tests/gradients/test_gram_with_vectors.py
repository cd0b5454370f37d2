"""Products with vectors that are nobody's gradient, without forming a gradient."""

from __future__ import annotations

import math
from unittest.mock import patch

import pytest
import torch
from torch import Tensor

from captum_tfa.gradients import gram
from captum_tfa.gradients.gram import GramRule
from captum_tfa.gradients.rule import StoredTerm, products_of
from captum_tfa.gradients.rules.convolution import ConvolutionWeight, Geometry
from captum_tfa.gradients.rules.linear import LinearWeight
from tests.oracle import EXACT, relative_error

BATCH = 3


def _convolution(stride: int, padding: int, dilation: int, groups: int) -> Geometry:
    pair = [(each, each) for each in (stride, padding, dilation)]
    return Geometry(*pair, transposed=False, output_padding=(0, 0), groups=groups)


def _case(name: str) -> tuple[GramRule, Tensor, Tensor, tuple[int, ...]]:
    """A rule, activations and deltas of some examples, and the weight's shape."""
    if name.startswith("linear"):
        positions = 1 if name == "linear" else 4
        sides = torch.randn(BATCH, positions, 5), torch.randn(BATCH, positions, 6)
        return LinearWeight(), sides[0].double(), sides[1].double(), (6, 5)
    geometry = {
        "convolution": _convolution(1, 1, 1, 1),
        "strided and dilated": _convolution(2, 2, 2, 1),
        "groups": _convolution(1, 0, 1, 2),
    }[name]
    shape = (4, 4 // geometry.groups, 3, 3)
    images = torch.randn(BATCH, 1, 4, 6, 5).double()
    output = geometry.apply(images[:, 0], torch.zeros(shape).double())
    return (
        ConvolutionWeight(shape, geometry),
        images,
        torch.randn(BATCH, 1, *output.shape[1:]).double(),
        shape,
    )


NAMES = ["linear", "linear, tokens", "convolution", "strided and dilated", "groups"]


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("vectors", [1, 3])
@pytest.mark.parametrize("paired", [False, True])
def test_products_with_vectors_are_those_of_the_gradients(
    name: str, vectors: int, paired: bool
) -> None:
    rule, input, delta, shape = _case(name)
    tests = StoredTerm(None, (), torch.randn(vectors, *shape).double())
    rows = torch.arange(BATCH) % vectors if paired else None
    leaves = [input.requires_grad_(), delta.requires_grad_()]
    formed: list[Tensor] = []
    gradient = type(rule).gradient

    def watched(self: GramRule, inputs: tuple[Tensor, ...], deltas: Tensor) -> Tensor:
        formed.append(deltas)
        return gradient(self, inputs, deltas)

    with (
        patch.object(gram, "_MARGIN", math.inf),
        patch.object(gram, "_FORMED", math.inf),
        patch.object(type(rule), "gradient", watched),
    ):
        given = rule.products((input,), delta, tests, rows)
    assert bool(formed) == (paired and vectors > 1)
    right = products_of(rule.gradient((input,), delta), tests, rows)
    assert given.inner is not None
    assert right.inner is not None
    for one, other in zip(given, right, strict=True):
        assert one is not None
        assert other is not None
        assert relative_error(one.detach(), other.detach()) < EXACT
        weights = torch.randn_like(one)
        found, wanted = (
            torch.autograd.grad((side * weights).sum(), leaves, retain_graph=True)
            for side in (one, other)
        )
        for part, of_right in zip(found, wanted, strict=True):
            assert relative_error(part, of_right) < EXACT


def test_gradients_that_are_cheaper_to_form_are_formed() -> None:
    rule, input, delta, shape = _case("linear, tokens")
    for vectors, expected in ((1, False), (50, True)):
        tests = StoredTerm(None, (), torch.randn(vectors, *shape).double())
        with (
            patch.object(gram, "_MARGIN", math.inf),
            patch.object(LinearWeight, "gradient", side_effect=rule.gradient) as formed,
        ):
            rule.products((input,), delta, tests, None)
        assert formed.called == expected
