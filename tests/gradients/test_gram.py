"""Gram matrices give the products of gradients, and are chosen where they cost less."""

from __future__ import annotations

import math
from unittest.mock import patch

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from captum_tfa.gradients import gram
from captum_tfa.gradients.gram import GramRule
from captum_tfa.gradients.rule import StoredTerm, products_of
from captum_tfa.gradients.rules.convolution import ConvolutionWeight, Geometry
from captum_tfa.gradients.rules.linear import LinearWeight
from captum_tfa.gradients.rules.windows import ShiftedGram
from tests.oracle import EXACT, relative_error

BATCH = 3


def _empty(*shape: int) -> Tensor:
    """A tensor of which only the shape counts, however large."""
    return torch.empty(1).expand(shape)


def _linear(batch: int, positions: int, entries: int, outputs: int) -> tuple[Tensor, Tensor]:
    return _empty(batch, positions, entries), _empty(batch, positions, outputs)


def _is_gram(
    rule: GramRule, input: Tensor, delta: Tensor, tests: int | None = None, paired: bool = False
) -> bool:
    stored = None
    if tests is not None:
        stored = StoredTerm(
            rule, (_empty(tests, *input.shape[1:]),), _empty(tests, *delta.shape[1:])
        )
    rows = torch.zeros(len(delta), dtype=torch.long) if paired else None
    return rule._gram((input,), delta, stored, rows) is not None


@pytest.mark.parametrize(
    ("sizes", "chosen"),
    [
        # batch, positions T, inputs K, outputs O
        ((8, 1, 512, 512), True),  # a classifier's hidden layer: 1 position, many weights
        ((8, 1, 2048, 1000), True),
        ((8, 16, 768, 3072), True),  # few tokens
        ((8, 197, 768, 768), True),  # vit_b_16: 197² (768 + 768) < 197 · 768²
        ((8, 784, 128, 512), False),  # Swin's first stage: many tokens, few weights
        ((8, 4096, 64, 64), False),
        ((8, 1, 64, 10), False),  # so small that starting it costs more
        ((1, 1, 256, 256), False),  # the same, not shared by a batch
        ((64, 1, 256, 256), True),
    ],
)
def test_choice_for_linear_layers(sizes: tuple[int, int, int, int], chosen: bool) -> None:
    assert _is_gram(LinearWeight(), *_linear(*sizes)) is chosen


def _convolution(
    channels: int, outputs: int, side: int, kernel: int, stride: int = 1, groups: int = 1
) -> tuple[ConvolutionWeight, Tensor, Tensor]:
    padding = kernel // 2
    geometry = Geometry((stride,) * 2, (padding,) * 2, (1, 1), False, (0, 0), groups)
    rule = ConvolutionWeight((outputs, channels // groups, kernel, kernel), geometry)
    out = (side + 2 * padding - kernel) // stride + 1
    return rule, _empty(8, 1, channels, side, side), _empty(8, 1, outputs, out, out)


@pytest.mark.parametrize(
    ("layer", "chosen"),
    [
        # channels, outputs, side, kernel, stride, groups: of resnet18 at 224
        ((3, 64, 224, 7, 2), False),
        ((64, 64, 56, 3), False),
        ((128, 128, 28, 3), False),
        ((256, 256, 14, 3), True),
        ((512, 512, 7, 3), True),
        ((256, 512, 14, 3, 2), True),
        ((512, 512, 14, 3, 1, 512), False),  # depthwise: one weight a position of the kernel
    ],
)
def test_choice_for_convolutions(layer: tuple[int, ...], chosen: bool) -> None:
    assert _is_gram(*_convolution(*layer)) is chosen


def test_windows_are_not_laid_out_where_shifts_of_pixels_do() -> None:
    rule, input, delta = _convolution(512, 512, 7, 3)
    assert isinstance(rule._gram((input,), delta, None, None), ShiftedGram)
    rule, input, delta = _convolution(256, 512, 14, 3, 2)  # with a stride they do not
    assert not isinstance(rule._gram((input,), delta, None, None), ShiftedGram)


def test_many_tests_make_gradients_worth_their_forming() -> None:
    """Each test costs a Gram matrix more, or one product with a gradient that is there already."""
    sizes = _linear(8, 49, 768, 768)
    assert _is_gram(LinearWeight(), *sizes, tests=1)
    assert not _is_gram(LinearWeight(), *sizes, tests=16)
    assert _is_gram(LinearWeight(), *sizes, tests=16, paired=True)  # each example has one


def test_tests_that_are_kept_as_they_are_rule_gram_out() -> None:
    inputs, delta = _linear(8, 1, 512, 512)
    dense = StoredTerm(None, (), _empty(1, 512, 512))
    assert LinearWeight()._gram((inputs,), delta, dense, None) is None


@given(
    batch=st.integers(1, 3),
    positions=st.integers(1, 5),
    entries=st.integers(1, 6),
    outputs=st.integers(1, 6),
    tests=st.integers(1, 3),
    pairing=st.sampled_from(["each", "rows"]),
)
@settings(deadline=None, max_examples=40)
def test_both_ways_give_the_same_products_and_derivatives(
    batch: int, positions: int, entries: int, outputs: int, tests: int, pairing: str
) -> None:
    rule = LinearWeight()
    rows = None if pairing == "each" else torch.arange(batch) % tests
    other = torch.randn(tests, positions, entries).double()
    stored = StoredTerm(rule, (other,), torch.randn(tests, positions, outputs).double())
    found = []
    values = [torch.randn(batch, positions, size).double() for size in (entries, outputs)]
    for margin in (0.0, float("inf")):  # never, always
        with pytest.MonkeyPatch.context() as changed:
            changed.setattr(gram, "_MARGIN", margin)
            a, delta = (value.clone().requires_grad_() for value in values)
            assert (rule._gram((a,), delta, stored, rows) is None) == (margin == 0)
            inner, squares = rule.products((a,), delta, stored, rows)
            assert inner is not None
            total = inner.sin().sum() + squares.cos().sum()
            found.append([inner, squares, *torch.autograd.grad(total, (a, delta))])
    torch.testing.assert_close(*found)


def _geometry(stride: int, padding: int, dilation: int, groups: int) -> Geometry:
    pair = [(each, each) for each in (stride, padding, dilation)]
    return Geometry(*pair, transposed=False, output_padding=(0, 0), groups=groups)


def _case(name: str) -> tuple[GramRule, Tensor, Tensor, tuple[int, ...]]:
    """A rule, activations and deltas of some examples, and the weight's shape."""
    if name.startswith("linear"):
        positions = 1 if name == "linear" else 4
        sides = torch.randn(BATCH, positions, 5), torch.randn(BATCH, positions, 6)
        return LinearWeight(), sides[0].double(), sides[1].double(), (6, 5)
    geometry = {
        "convolution": _geometry(1, 1, 1, 1),
        "strided and dilated": _geometry(2, 2, 2, 1),
        "groups": _geometry(1, 0, 1, 2),
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
