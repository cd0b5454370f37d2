from __future__ import annotations

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
from captum_tfa.index.gradient_index import GradientIndex
from captum_tfa.index.rows import Rows
from captum_tfa.index.sealed import read_sealed, write_sealed
from captum_tfa.index.settings import Settings
from captum_tfa.index.shards import BESIDE, ShardFiles, longest

SHARD = 64


def written(folder: Path, vectors: Tensor, norms: Tensor, bounded: bool = True) -> GradientIndex:
    """An index of these stored rows; they are rounded to float16."""
    folder.mkdir(parents=True)
    count, dimension = vectors.shape
    common: dict[str, Any] = {"sample": "", "preparation": "", "model": "", "loss": ""}
    layout = Settings(dimension, 0, "float16", 8.0, SHARD, count, parameters={}, **common)
    for number in range(layout.shards):
        files = ShardFiles(folder, layout, number)
        part = slice(files.rows.start, files.rows.stop)
        vectors[part].to(torch.float16).numpy().tofile(files.projections)
        beside = np.zeros(len(files.rows), BESIDE)
        beside["norm"] = norms[part].numpy()
        beside.tofile(files.norms)
        seal: dict[str, Any] = {"start": files.rows.start, "count": len(files.rows)}
        if bounded:
            seal["longest"] = longest(files.projections, layout)
        write_sealed(files.seal, seal)
    return GradientIndex(folder, layout, None)


def product(rows: Rows, inner: Tensor) -> Tensor:
    return inner.T


def cosine(rows: Rows, inner: Tensor) -> Tensor:
    return (inner / rows.norms[:, None]).T


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
    st.booleans(),
)
@settings(max_examples=60, deadline=None)
def test_the_best_are_those_of_a_stable_sort_of_exact_products(
    tmp_path_factory: pytest.TempPathFactory,
    seed: int,
    count: int,
    dimension: int,
    k: int,
    highest: bool,
) -> None:
    vectors, norms, question = drawn(seed, count, dimension)
    index = written(tmp_path_factory.mktemp("best") / "index", vectors, norms)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "_FIRST", 1 + seed % 80)
        found = best(index, question[None], product, k, highest)
    exact = slow(vectors, norms, question)
    order = exact.argsort(descending=highest, stable=True)[:k]
    assert found.indices.tolist() == [order.tolist()]
    assert torch.equal(found.scores[0].double(), exact[order])


@pytest.mark.parametrize("highest", [True, False])
@pytest.mark.parametrize("scoring", [product, cosine])
def test_gaussian_rows_give_what_the_full_product_gives(
    tmp_path: Path, scoring: Any, highest: bool
) -> None:
    draw = torch.Generator().manual_seed(0)
    vectors, norms = torch.randn(2000, 512, generator=draw), torch.rand(2000, generator=draw) + 0.1
    vectors[900:1000] = vectors[:100]  # the same image twice
    norms[900:1000] = norms[:100]
    question = torch.randn(1, 512, generator=draw) * 1e-6
    index = written(tmp_path / "index", vectors, norms)
    found = best(index, question, scoring, 40, highest)
    exact = (vectors.half().double() @ question[0].double()) * norms / 8
    exact = exact / norms if scoring is cosine else exact
    order = exact.argsort(descending=highest, stable=True)[:40]
    assert found.indices[0].tolist() == order.tolist()
    torch.testing.assert_close(found.scores[0].double(), exact[order], rtol=1e-4, atol=1e-12)


def turned(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many rows are turned into float32, call by call."""
    counts: list[int] = []
    whole = module._products

    def counted(rows: Rows, vector: Tensor) -> Tensor:
        counts.append(len(rows.norms))
        return whole(rows, vector)

    monkeypatch.setattr(module, "_products", counted)
    return counts


def test_few_rows_are_turned_into_float32(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    draw = torch.Generator().manual_seed(0)
    vectors, question = torch.randn(6400, 512, generator=draw), torch.randn(1, 512, generator=draw)
    index = written(tmp_path / "index", vectors, torch.ones(6400))
    counts = turned(monkeypatch)
    best(index, question, product, 10, True)
    assert counts[0] == SHARD  # less than the first piece may have
    assert sum(counts) < 6400 * 0.05


def test_an_index_that_does_not_say_how_long_its_rows_are_is_read_in_full(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    vectors, norms, question = drawn(3, 300, 32)
    wanted = best(written(tmp_path / "new", vectors, norms), question[None], product, 9, True)
    index = written(tmp_path / "old", vectors, norms, bounded=False)
    counts = turned(monkeypatch)
    found = best(index, question[None], product, 9, True)
    assert torch.equal(found.indices, wanted.indices)
    assert sum(counts) == 300


def test_scores_that_do_not_grow_with_products_are_computed_in_full(tmp_path: Path) -> None:
    vectors, norms, question = drawn(4, 300, 32)
    index = written(tmp_path / "index", vectors, norms)
    found = best(index, question[None], lambda rows, inner: -inner.T.abs(), 9, True)
    order = (-slow(vectors, norms, question).abs()).argsort(descending=True, stable=True)[:9]
    assert found.indices[0].tolist() == order.tolist()


def test_a_question_of_zeros_gives_the_first(tmp_path: Path) -> None:
    vectors, norms, question = drawn(5, 300, 32)
    index = written(tmp_path / "index", vectors, norms)
    found = best(index, 0 * question[None], product, 5, True)
    assert found.indices.tolist() == [[0, 1, 2, 3, 4]]


def test_several_questions_are_each_what_it_is_alone(tmp_path: Path) -> None:
    vectors, norms, _ = drawn(6, 300, 32)
    index = written(tmp_path / "index", vectors, norms)
    questions = torch.stack([drawn(seed, 1, 32)[2] for seed in range(5)])
    together = best(index, questions, product, 20, True)
    for place, question in enumerate(questions):
        alone = best(index, question[None], product, 20, True)
        assert torch.equal(alone.indices[0], together.indices[place])
        assert torch.equal(alone.scores[0], together.scores[place])


def test_no_row_is_longer_than_the_seal_says(tmp_path: Path) -> None:
    vectors = torch.randn(100, 8, generator=torch.Generator().manual_seed(0))
    index = written(tmp_path / "index", vectors, torch.ones(100))
    for number in range(2):
        files = ShardFiles(index.folder, index.settings, number)
        rows = vectors.half().double()[files.rows.start : files.rows.stop]
        said = read_sealed(files.seal)["longest"]
        assert float(rows.norm(dim=1).max()) <= said <= float(rows.norm(dim=1).max()) * 1.001 + 1
