"""Gram matrices give the products of gradients, and are chosen where they cost less."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from captum_tfa.gradients import gram
from captum_tfa.gradients.gram import GramRule
from captum_tfa.gradients.rule import StoredTerm
from captum_tfa.gradients.rules.convolution import ConvolutionWeight, Geometry
from captum_tfa.gradients.rules.linear import LinearWeight
from captum_tfa.gradients.rules.windows import ShiftedGram


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
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(gram, "_MARGIN", margin)
            a, delta = (value.clone().requires_grad_() for value in values)
            assert (rule._gram((a,), delta, stored, rows) is None) == (margin == 0)
            inner, squares = rule.products((a,), delta, stored, rows)
            assert inner is not None
            total = inner.sin().sum() + squares.cos().sum()
            found.append([inner, squares, *torch.autograd.grad(total, (a, delta))])
    torch.testing.assert_close(*found)
