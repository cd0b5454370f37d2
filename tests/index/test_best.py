from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from captum_tfa.index import best as module
from captum_tfa.index.best import best
from captum_tfa.index.codes import exact_here
from captum_tfa.index.gradient_index import GradientIndex
from captum_tfa.index.rows import Rows
from captum_tfa.index.sealed import write_sealed
from captum_tfa.index.settings import Settings
from captum_tfa.index.shards import BESIDE, ShardFiles, write_codes

SHARD = 64


def written(
    folder: Path,
    vectors: Tensor,
    norms: Tensor,
    coded: bool = True,
    precision: str = "float16",
) -> GradientIndex:
    """An index of these stored rows."""
    folder.mkdir(parents=True)
    count, dimension = vectors.shape
    common: dict[str, Any] = {"sample": "", "preparation": "", "model": "", "loss": ""}
    layout = Settings(dimension, 0, precision, 8.0, SHARD, count, parameters={}, **common)
    for number in range(layout.shards):
        files = ShardFiles(folder, layout, number)
        part = slice(files.rows.start, files.rows.stop)
        vectors[part].to(getattr(torch, precision)).numpy().tofile(files.projections)
        beside = np.zeros(len(files.rows), BESIDE)
        beside["norm"] = norms[part].numpy()
        beside.tofile(files.norms)
        seal: dict[str, Any] = {"start": files.rows.start, "count": len(files.rows)}
        if coded:
            write_codes(files)
            seal["codes"] = ""
        write_sealed(files.seal, seal)
    return GradientIndex(folder, layout, None)


@pytest.fixture
def bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """Bounds are used however few rows there are."""
    monkeypatch.setattr(module, "_FEW", 1)


class Product:
    """The inner product itself."""

    def __call__(self, rows: Rows, inner: Tensor) -> Tensor:
        return inner.T

    def only(self, question: int) -> Product:
        return self


class Cosine:
    """Over the norms of rows and questions."""

    def __init__(self, lengths: Tensor) -> None:
        self.lengths = lengths

    def __call__(self, rows: Rows, inner: Tensor) -> Tensor:
        return (inner / rows.norms[:, None] / self.lengths).T

    def only(self, question: int) -> Cosine:
        return Cosine(self.lengths[question : question + 1])


class WithSigns(Product):
    """Some rows are multiplied with less than 0."""

    def __call__(self, rows: Rows, inner: Tensor) -> Tensor:
        return (inner * signs(rows.norms)[:, None]).T


class Distance(Product):
    """No multiple of the inner product."""

    def __call__(self, rows: Rows, inner: Tensor) -> Tensor:
        return -inner.T.abs()


def signs(norms: Tensor) -> Tensor:
    return torch.where(norms < 1, -1.0, 1.0)


def slow(vectors: Tensor, norms: Tensor, question: Tensor) -> Tensor:
    """Inner products in float64, rounded so far that ties are ties."""
    exact = (vectors.half().double() @ question.double()) * norms.double() / 8
    return (exact * 2**40).round() / 2**40


def drawn(seed: int, count: int, dimension: int) -> tuple[Tensor, Tensor, Tensor]:
    """Rows in whole numbers, whose products are exact in float32, with norms that are powers of 2.

    Small numbers, so that many scores are the same.
    """
    draw = torch.Generator().manual_seed(seed)
    vectors = torch.randint(-2, 3, (count, dimension), generator=draw).float()
    norms = 2.0 ** torch.randint(-2, 3, (count,), generator=draw)
    question = torch.randint(-3, 4, (dimension,), generator=draw).float()
    return vectors, norms, question


@given(
    st.integers(0, 2**31),
    st.integers(1, 400),
    st.integers(1, 70),
    st.integers(1, 90),
    st.integers(1, 5),
    st.sampled_from(["product", "signs", "distance"]),
    st.booleans(),
)
@settings(max_examples=80, deadline=None)
def test_the_best_are_those_of_a_stable_sort_of_exact_products(
    tmp_path_factory: pytest.TempPathFactory,
    seed: int,
    count: int,
    dimension: int,
    k: int,
    asked: int,
    kind: str,
    highest: bool,
) -> None:
    vectors, norms, _ = drawn(seed, count, dimension)
    questions = torch.stack([drawn(seed + each, 1, dimension)[2] for each in range(asked)])
    index = written(tmp_path_factory.mktemp("best") / "index", vectors, norms)
    scoring = {"product": Product(), "signs": WithSigns(), "distance": Distance()}[kind]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "_FEW", 1)
        patch.setattr(module, "_LOOKED_AT", 1 + seed % 70)
        patch.setattr(module, "_AT_ONCE", 1 + seed % 300)
        patch.setattr(module, "_WAITING", 1 + seed % 200)
        found = best(index, questions, scoring, k, highest)  # type: ignore[arg-type]
    for place, question in enumerate(questions):
        exact = slow(vectors, norms, question)
        exact = exact * signs(norms) if kind == "signs" else exact
        exact = -exact.abs() if kind == "distance" else exact
        order = exact.argsort(descending=highest, stable=True)[:k]
        assert found.indices[place].tolist() == order.tolist()
        assert torch.equal(found.scores[place].double(), exact[order])


@pytest.mark.parametrize("highest", [True, False])
@pytest.mark.parametrize("over_norms", [True, False])
@pytest.mark.parametrize("precision", ["float16", "float32"])
@pytest.mark.parametrize("waiting", [100, 10**6])
@pytest.mark.usefixtures("bounded")
def test_gaussian_rows_give_what_the_full_product_gives(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    over_norms: bool,
    highest: bool,
    precision: str,
    waiting: int,
) -> None:
    draw = torch.Generator().manual_seed(0)
    vectors, norms = torch.randn(2000, 512, generator=draw), torch.rand(2000, generator=draw) + 0.1
    vectors[900:1000] = vectors[:100]  # the same image twice
    norms[900:1000] = norms[:100]
    questions = torch.randn(3, 512, generator=draw) * torch.tensor([[1e-6], [1.0], [1e6]])
    monkeypatch.setattr(module, "_WAITING", waiting)
    index = written(tmp_path / "index", vectors, norms, precision=precision)
    scoring: Any = Cosine(questions.norm(dim=1)) if over_norms else Product()
    found = best(index, questions, scoring, 40, highest)
    stored = vectors.to(getattr(torch, precision)).double()
    for place, question in enumerate(questions.double()):
        exact = stored @ question * norms / 8
        exact = exact / norms / question.norm() if over_norms else exact
        order = exact.argsort(descending=highest, stable=True)[:40]
        assert found.indices[place].tolist() == order.tolist()
        torch.testing.assert_close(
            found.scores[place].double(), exact[order], rtol=1e-4, atol=1e-12
        )


def turned(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many rows are turned into float32, call by call."""
    counts: list[int] = []
    whole = Rows.directions

    def counted(rows: Rows, device: torch.device) -> Iterator[Tensor]:
        counts.append(len(rows.norms))
        return whole(rows, device)

    monkeypatch.setattr(Rows, "directions", counted)
    return counts


@pytest.mark.usefixtures("bounded")
@pytest.mark.parametrize("asked", [1, 4])
def test_few_rows_are_turned_into_float32(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, asked: int
) -> None:
    if not exact_here(512, asked):
        pytest.skip("this processor does not multiply 8-bit numbers exactly")
    draw = torch.Generator().manual_seed(0)
    vectors = torch.randn(6400, 512, generator=draw)
    index = written(tmp_path / "index", vectors, torch.ones(6400))
    counts = turned(monkeypatch)
    best(index, torch.randn(asked, 512, generator=draw), Product(), 10, True)  # type: ignore[arg-type]
    assert sum(counts) < asked * 6400 * 0.02


@pytest.mark.usefixtures("bounded")
def test_an_index_without_codes_is_read_in_full(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    vectors, norms, question = drawn(3, 300, 32)
    scoring: Any = Product()
    wanted = best(written(tmp_path / "new", vectors, norms), question[None], scoring, 9, True)
    index = written(tmp_path / "old", vectors, norms, coded=False)
    counts = turned(monkeypatch)
    found = best(index, question[None], scoring, 9, True)
    assert torch.equal(found.indices, wanted.indices)
    assert sum(counts) == 300


@pytest.mark.usefixtures("bounded")
def test_where_products_of_codes_are_wrong_the_index_is_read_in_full(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    vectors, norms, question = drawn(3, 300, 32)
    index = written(tmp_path / "index", vectors, norms)
    monkeypatch.setattr(module, "exact_here", lambda *_: False)
    counts = turned(monkeypatch)
    found = best(index, question[None], Product(), 9, True)  # type: ignore[arg-type]
    order = slow(vectors, norms, question).argsort(descending=True, stable=True)[:9]
    assert found.indices[0].tolist() == order.tolist()
    assert sum(counts) == 300


def test_many_of_few_are_found_in_full(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    vectors, norms, question = drawn(3, 2000, 32)
    index = written(tmp_path / "index", vectors, norms)
    counts = turned(monkeypatch)
    best(index, question[None], Product(), 4, True)  # type: ignore[arg-type]
    assert sum(counts) == 2000


@pytest.mark.usefixtures("bounded")
def test_a_question_of_zeros_gives_the_first(tmp_path: Path) -> None:
    vectors, norms, question = drawn(5, 300, 32)
    index = written(tmp_path / "index", vectors, norms)
    found = best(index, torch.stack([0 * question, question]), Product(), 5, True)  # type: ignore[arg-type]
    assert found.indices[0].tolist() == [0, 1, 2, 3, 4]
    order = slow(vectors, norms, question).argsort(descending=True, stable=True)[:5]
    assert found.indices[1].tolist() == order.tolist()


@pytest.mark.usefixtures("bounded")
def test_a_row_of_zeros_is_ranked_as_any_other(tmp_path: Path) -> None:
    vectors, norms, question = drawn(7, 300, 32)
    vectors[::2], norms[::2] = 0, 0
    index = written(tmp_path / "index", vectors, norms)
    found = best(index, question[None], Product(), 30, False)  # type: ignore[arg-type]
    order = slow(vectors, norms, question).argsort(stable=True)[:30]
    assert found.indices[0].tolist() == order.tolist()


@pytest.mark.usefixtures("bounded")
def test_several_questions_are_each_what_it_is_alone(tmp_path: Path) -> None:
    draw = torch.Generator().manual_seed(0)
    vectors, norms = torch.randn(700, 64, generator=draw), torch.rand(700, generator=draw) + 0.1
    index = written(tmp_path / "index", vectors, norms)
    questions = torch.randn(5, 64, generator=draw)
    scoring: Any = Product()
    together = best(index, questions, scoring, 20, True)
    for place, question in enumerate(questions):
        alone = best(index, question[None], scoring, 20, True)
        assert torch.equal(alone.indices[0], together.indices[place])
        torch.testing.assert_close(alone.scores[0], together.scores[place])


@pytest.mark.usefixtures("bounded")
def test_few_rows_are_asked_for_ahead(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    draw = torch.Generator().manual_seed(0)
    vectors, question = torch.randn(6400, 64, generator=draw), torch.randn(1, 64, generator=draw)
    index = written(tmp_path / "index", vectors, torch.ones(6400))
    asked: list[tuple[int, int]] = []

    def advise(file: int, start: int, size: int, kind: int) -> None:
        assert kind == os.POSIX_FADV_WILLNEED
        asked.append((start, size))

    monkeypatch.setattr(os, "posix_fadvise", advise, raising=False)
    monkeypatch.setattr(os, "POSIX_FADV_WILLNEED", 3, raising=False)
    found = best(index, question, Product(), 3, True)  # type: ignore[arg-type]
    assert all(size == 128 and start % 128 == 0 and start < 64 * 128 for start, size in asked)
    for place in found.indices[0].tolist():
        assert (place % SHARD * 128, 128) in asked
    monkeypatch.delattr(os, "posix_fadvise")  # some systems have none
    again = best(index, question, Product(), 3, True)  # type: ignore[arg-type]
    assert torch.equal(again.indices, found.indices)
    few = len(asked)
    assert len(list(index.picked(torch.arange(101)))) == 2  # more than a 64th
    assert len(asked) == few
