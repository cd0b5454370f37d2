from __future__ import annotations

import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from captum_tfa.gradients.rules.windows import ShiftedGram, windows
from tests.oracle import assert_layer_exact

pairs = st.tuples(st.integers(1, 3), st.integers(1, 3))
paddings = st.tuples(st.integers(0, 2), st.integers(0, 2))
extra = st.tuples(st.integers(0, 3), st.integers(0, 3))


def random_image(
    batch: int, channels: int, kernel: tuple[int, int], dilation: tuple[int, int], more: object
) -> torch.Tensor:
    """An image that holds at least one window."""
    rows, columns = (
        wide * (size - 1) + 1 + add
        for size, wide, add in zip(kernel, dilation, more, strict=True)  # type: ignore[call-overload]
    )
    return torch.randn(batch, channels, rows, columns, dtype=torch.float64)


@given(pairs, pairs, paddings, pairs, extra)
@settings(deadline=None, max_examples=40)
def test_windows_and_their_derivative_are_those_of_unfold(
    kernel: tuple[int, int],
    dilation: tuple[int, int],
    padding: tuple[int, int],
    stride: tuple[int, int],
    more: tuple[int, int],
) -> None:
    image = random_image(2, 3, kernel, dilation, more).requires_grad_()
    ours = windows(image, kernel, dilation, padding, stride)
    torchs = F.unfold(image, kernel, dilation, padding, stride)
    assert torch.equal(ours, torchs)
    weights = torch.randn_like(ours)
    mine, other = (
        torch.autograd.grad((found * weights).sum(), image)[0] for found in (ours, torchs)
    )
    torch.testing.assert_close(mine, other)


@given(pairs, pairs, paddings, st.integers(1, 2), extra, extra, st.sampled_from([1, 2]))
@settings(deadline=None, max_examples=40)
def test_shifted_products_and_their_adjoint_are_those_of_windows(
    kernel: tuple[int, int],
    dilation: tuple[int, int],
    padding: tuple[int, int],
    groups: int,
    more: tuple[int, int],
    more_of_other: tuple[int, int],
    others: int,
) -> None:
    gram = ShiftedGram(kernel, dilation, padding, groups)
    image = random_image(2, 2 * groups, kernel, dilation, more).requires_grad_()
    other = random_image(others, 2 * groups, kernel, dilation, more_of_other)
    mine = gram.laid_out(image.unsqueeze(1))
    laid_out = gram.laid_out(other.unsqueeze(1))
    products = gram.products(mine, laid_out)

    seen, seen_of_other = (
        F.unfold(tensor, kernel, dilation, padding).unflatten(1, (groups, -1))
        for tensor in (image, other)
    )
    torch.testing.assert_close(products, seen.mT @ seen_of_other)
    weights = torch.randn_like(products)
    wanted, through_windows = (
        torch.autograd.grad((found * weights).sum(), of)[0]
        for found, of in ((gram.products(mine, laid_out), mine), (seen.mT @ seen_of_other, image))
    )
    adjoint = gram.adjoint(weights, laid_out, mine.shape)
    torch.testing.assert_close(adjoint, wanted)
    (to_image,) = torch.autograd.grad(mine, image, adjoint)
    torch.testing.assert_close(to_image, through_windows)


def test_a_late_convolution_is_exact() -> None:
    assert_layer_exact(nn.Conv2d(64, 64, 3, padding=1), [64, 4, 4], batch=3)


def test_a_late_convolution_in_groups_is_exact() -> None:
    layer = nn.Conv2d(64, 128, 3, padding=1, groups=2)
    assert_layer_exact(layer, [64, 4, 4], batch=2)
