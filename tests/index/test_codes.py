from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from captum_tfa.index import codes as module
from captum_tfa.index.codes import CodedQuestions, Codes, encode, exact_here


def rows_of_many_kinds(seed: int, count: int, dimension: int) -> Tensor:
    """Gaussian rows, some with one large number, some of zeros, some whole."""
    draw = torch.Generator().manual_seed(seed)
    rows = torch.randn(count, dimension, generator=draw, dtype=torch.float64)
    kind = torch.randint(0, 5, (count,), generator=draw)
    rows[kind == 1, :1] *= 40
    rows[kind == 2] = 0
    rows[kind == 3] = rows[kind == 3].round()
    rows[kind == 4] *= 1e-3
    return rows.float().double()


def hartley(dimension: int) -> np.ndarray:
    """The matrix ``cas(2π jk / D) / √D``, entry by entry."""
    place = np.arange(dimension)
    angles = 2 * np.pi * place[:, None] * place / dimension
    return (np.cos(angles) + np.sin(angles)) / dimension**0.5


def test_large_numbers_of_a_row_are_spread() -> None:
    matrix = hartley(64)
    np.testing.assert_allclose(matrix @ matrix.T, np.eye(64), atol=1e-12)
    alone = np.zeros((1, 64))
    alone[0, 5] = 8
    _, beside = encode(alone)
    assert beside[0, 2] < 0.01 * 8 / 2  # as small as that of a row of equal numbers


def kept(file: Path, rows: Tensor) -> Codes:
    numbers, beside = encode(rows.numpy())
    file.write_bytes(numbers.tobytes() + beside.tobytes())
    return Codes(file, *numbers.shape, range(len(rows)))


@given(
    st.integers(0, 2**31),
    st.integers(1, 60),
    st.integers(1, 200),
    st.integers(1, 5),
    st.floats(1e-12, 1e6),
)
@settings(max_examples=100, deadline=None)
def test_products_lie_between_their_bounds(
    tmp_path_factory: pytest.TempPathFactory,
    seed: int,
    count: int,
    dimension: int,
    asked: int,
    size: float,
) -> None:
    if not exact_here(dimension, asked):
        return
    rows = rows_of_many_kinds(seed, count, dimension)
    draw = torch.Generator().manual_seed(seed + 1)
    vectors = size * rows_of_many_kinds(seed + 2, asked, dimension).float()
    factors = torch.randn(count, generator=draw)
    codes = kept(tmp_path_factory.mktemp("codes") / "codes", rows)
    exact = (rows @ vectors.double().T) * factors[:, None].double()
    first = seed % count
    part, factors, exact = codes.part(slice(first, count)), factors[first:], exact[first:]
    questions = CodedQuestions(vectors)
    units = questions.units.double()
    most, least = (questions.most(part, factors, below).double() * units for below in (False, True))
    assert bool((least <= exact).all() and (exact <= most).all())
    # How far apart, from the largest number of each side: rounding is at most half a step.
    matrix = torch.from_numpy(hartley(dimension))
    row_step, step = (
        (each @ matrix).abs().amax(1) / 127 for each in (rows[first:], vectors.double())
    )
    lengths, asked_lengths = rows[first:].norm(dim=1), vectors.double().norm(dim=1)
    half = dimension**0.5 / 2
    slack = (lengths + row_step * half)[:, None] * (step * half) + (
        row_step[:, None] * half + 1 / 128
    ) * asked_lengths
    allowed = 2.1 * slack + 1e-3 * (lengths[:, None] + 1) * asked_lengths
    assert bool((most - least <= allowed * factors.abs()[:, None] + 1e-30).all())


def test_numbers_are_rounded_to_the_nearest_step() -> None:
    rows = rows_of_many_kinds(0, 200, 33).numpy()
    numbers, beside = encode(rows)
    steps = beside[:, :1].astype("f8")
    left = rows @ hartley(33) - steps * numbers
    assert (abs(left) <= steps * 0.5001).all()
    assert (numbers.min(), numbers.max()) == (-127, 127)
    for column, vectors in ((1, steps * numbers), (2, left)):
        lengths = np.linalg.norm(vectors, axis=1)
        assert (lengths <= beside[:, column]).all()
        assert (beside[:, column] <= lengths + 1 / 256).all()


@pytest.mark.parametrize(("dimension", "asked"), [(1, 1), (1, 3), (2, 1), (2048, 64), (33, 5)])
def test_where_products_are_said_to_be_exact_they_are(dimension: int, asked: int) -> None:
    if not exact_here(dimension, asked):
        return
    draw = torch.Generator().manual_seed(0)
    rows, others = (
        torch.randint(-127, 128, (count, dimension), generator=draw) for count in (50, asked)
    )
    found = module._product(rows.to(torch.int8), others.to(torch.int8))
    assert torch.equal(found.double(), rows.double() @ others.double().T)


def saturating(rows: Tensor, questions: Tensor) -> Tensor:
    """As processors do that take one side without a sign and add two products in 16 bits."""
    pairs = ((rows.int()[:, None] + 128) * questions.int()).unflatten(2, (-1, 2)).sum(3)
    return pairs.clamp(-(2**15), 2**15 - 1).sum(2) - 128 * questions.int().sum(1)


def turned(rows: Tensor, questions: Tensor) -> Tensor:
    return torch.ones(len(rows), len(questions), dtype=torch.int32)


def missing(rows: Tensor, questions: Tensor) -> Tensor:
    raise NotImplementedError("no kernel")


@pytest.mark.parametrize("product", [saturating, turned, missing])
def test_a_product_that_is_not_exact_is_noticed(
    monkeypatch: pytest.MonkeyPatch, product: object
) -> None:
    exact_here.cache_clear()
    monkeypatch.setattr(module, "_product", product)
    assert not exact_here(64, 3)
    exact_here.cache_clear()


def test_without_the_instructions_nothing_is_tried(monkeypatch: pytest.MonkeyPatch) -> None:
    exact_here.cache_clear()
    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: "DEFAULT")
    assert not exact_here(64, 3)
    exact_here.cache_clear()


def test_a_file_that_is_cut_while_it_is_read_is_refused(tmp_path: Path) -> None:
    codes = kept(tmp_path / "codes", torch.randn(50, 16).double())
    (tmp_path / "codes").write_bytes((tmp_path / "codes").read_bytes()[:700])
    with pytest.raises(ValueError, match="codes was cut while it was read"):
        list(codes.numbers())
