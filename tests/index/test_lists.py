from __future__ import annotations

import math
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load, load_file
from torch import Tensor

from captum_tfa import GradCosScore, GradDotScore, GradientIndex
from captum_tfa.index.best import best
from captum_tfa.index.lists import Lists
from captum_tfa.index.search import Best, Scoring
from captum_tfa.scores import Score
from tests.index.clustered import clustered, index_of_clusters
from tests.influence.tiny_sets import linear_and_conv

COUNT, FILE = 170, "lists.safetensors"
QUESTIONS = clustered(5, 2)
KINDS: list[type[Score]] = [GradCosScore, GradDotScore]


def question(kind: type[Score], index: GradientIndex, only: slice = slice(None)) -> tuple[Any, Any]:
    """Vectors and scoring of some test images."""
    score = kind(linear_and_conv())
    tests = score.test_gradients(QUESTIONS[0][only], QUESTIONS[1][only])
    return index.project(tests), Scoring(score, tests)


def slow_estimates(kind: type[Score], index: GradientIndex) -> Tensor:
    """``[Q, N]`` in float64 from everything that is stored."""
    vectors, _ = question(kind, index)
    chunks = [part.clone() for rows in index.chunks() for part in rows.directions(vectors.device)]
    directions = torch.cat(chunks).double() / index.settings.scale
    if kind is GradDotScore:
        return vectors.double() @ (directions * index.norms.double()[:, None]).T
    gradients = kind(linear_and_conv()).test_gradients(*QUESTIONS)
    return (vectors.double() / gradients.squares.double().sqrt()[:, None]) @ directions.T


@pytest.mark.parametrize("highest", [True, False])
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("count", "precision", "seed"), [(170, "float32", 0), (91, "float16", 3)])
@pytest.mark.parametrize("k", [1, 7, 1000])
def test_with_every_list_it_is_the_exact_search(
    k: int, count: int, precision: str, seed: int, kind: Any, highest: bool, tmp_path: Path
) -> None:
    index = index_of_clusters(tmp_path, count, precision=precision, seed=seed)
    vectors, of = question(kind, index)
    found = Lists(index, share=1.0).best(vectors, of, k, highest)
    wanted = best(index, vectors, of, k, highest)
    assert torch.equal(found.indices, wanted.indices)
    torch.testing.assert_close(found.scores, wanted.scores, rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("highest", [True, False])
@pytest.mark.parametrize("kind", KINDS)
def test_it_is_the_best_of_the_lists_that_promise_most(
    kind: Any, highest: bool, tmp_path: Path
) -> None:
    index = index_of_clusters(tmp_path, COUNT, precision="float32")
    vectors, of = question(kind, index)
    found = Lists(index, share=0.2).best(vectors, of, 6, highest)
    kept = load_file(tmp_path / FILE)
    centres, list_of = kept["centres"].double(), kept["list_of"].tolist()
    assert len(list_of) == COUNT
    longest = torch.ones(len(centres), dtype=torch.float64)
    if kind is GradDotScore:
        for number in range(len(centres)):
            own = [place for place, each in enumerate(list_of) if each == number]
            longest[number] = index.norms[own].max()
    estimates = slow_estimates(kind, index)
    for row, vector in enumerate(vectors.double()):
        promised = (centres @ vector * longest).tolist()
        order = sorted(range(len(centres)), key=lambda each: promised[each], reverse=highest)
        reading = set(order[: math.ceil(0.2 * len(centres))])
        while sum(each in reading for each in list_of) < 6:
            reading.add(next(each for each in order if each not in reading))
        among = [place for place, each in enumerate(list_of) if each in reading]
        assert 6 <= len(among) < COUNT
        among.sort(key=lambda place: float(estimates[row, place]), reverse=highest)
        assert found.indices[row].tolist() == among[:6]
    torch.testing.assert_close(
        found.scores.double(), estimates.gather(1, found.indices), rtol=1e-4, atol=1e-6
    )


def test_every_example_is_in_the_list_of_its_nearest_centre(tmp_path: Path) -> None:
    index = index_of_clusters(tmp_path, COUNT, precision="float32")
    Lists(index)
    kept = load_file(tmp_path / FILE)
    centres = kept["centres"]
    torch.testing.assert_close(centres.norm(dim=1), torch.ones(len(centres)))
    assert 1 < len(centres) <= math.isqrt(COUNT)
    rows = torch.cat(
        [part.clone() for rows in index.chunks() for part in rows.directions(centres.device)]
    )
    assert torch.equal((rows @ centres.T).argmax(1), kept["list_of"].long())
    assert set(kept["list_of"].tolist()) == set(range(len(centres)))


@pytest.mark.parametrize("k", [1, 40, COUNT, COUNT + 1])
def test_as_many_as_were_asked_for_are_found(k: int, tmp_path: Path) -> None:
    index = index_of_clusters(tmp_path, COUNT)
    vectors, of = question(GradCosScore, index)
    found = Lists(index, share=1e-9).best(vectors, of, k, True)
    assert found.indices.shape == (5, min(k, COUNT))
    assert all(len(set(row)) == len(row) for row in found.indices.tolist())
    assert found.scores.isfinite().all()


def test_what_else_is_asked_changes_nothing(tmp_path: Path) -> None:
    index = index_of_clusters(tmp_path, COUNT)
    lists = Lists(index, share=1e-9)
    together: Best = lists.best(*question(GradCosScore, index), 9, True)
    for row in range(5):
        alone = lists.best(*question(GradCosScore, index, slice(row, row + 1)), 9, True)
        assert torch.equal(alone.indices[0], together.indices[row])


def test_most_of_the_nearest_are_found_where_there_are_clusters(tmp_path: Path) -> None:
    index = index_of_clusters(tmp_path, 600)
    vectors, of = question(GradCosScore, index)
    found = Lists(index).best(vectors, of, 10, True).indices
    wanted = slow_estimates(GradCosScore, index).topk(10).indices
    shares = [
        len(set(some) & set(all_)) / 10
        for some, all_ in zip(found.tolist(), wanted.tolist(), strict=True)
    ]
    assert sum(shares) / len(shares) >= 0.9


def test_lists_are_found_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    index = index_of_clusters(tmp_path, COUNT)
    Lists(index)
    before = (tmp_path / FILE).read_bytes()
    monkeypatch.setitem(sys.modules, "faiss", None)
    Lists(GradientIndex.open(tmp_path))
    assert (tmp_path / FILE).read_bytes() == before


def test_they_are_the_same_every_time_and_leave_chance_alone(tmp_path: Path) -> None:
    index = index_of_clusters(tmp_path, COUNT)
    before = torch.get_rng_state()
    Lists(index)
    first = load_file(tmp_path / FILE)
    (tmp_path / FILE).unlink()
    Lists(index)
    assert all(torch.equal(first[name], each) for name, each in load_file(tmp_path / FILE).items())
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize("how", ["more", "seed", "bytes", "damaged", "pickle", "numbers"])
def test_lists_of_something_else_are_found_anew(how: str, tmp_path: Path) -> None:
    here, other = tmp_path / "here", tmp_path / "other"
    index = index_of_clusters(here, COUNT)
    Lists(index)
    right = load((here / FILE).read_bytes())
    if how in ("more", "seed"):
        changes: dict[str, Any] = {"count": 120} if how == "more" else {"seed": 5, "count": COUNT}
        Lists(index_of_clusters(other, **changes))
        (here / FILE).write_bytes((other / FILE).read_bytes())
    elif how == "bytes":
        seal = here / "000001.json"
        kept = seal.read_bytes()
        seal.write_bytes(kept + b" ")
        (here / FILE).unlink()
        Lists(index)
        seal.write_bytes(kept)
        changed = (here / FILE).read_bytes()
        Lists(index)
        assert (here / FILE).read_bytes() != changed
    elif how == "damaged":
        (here / FILE).write_bytes((here / FILE).read_bytes()[:-9])
    elif how == "pickle":
        torch.save(right, here / FILE)
    else:
        whole = bytearray((here / FILE).read_bytes())
        whole[-4:] = b"\xff\xff\xff\x7f"
        (here / FILE).write_bytes(whole)
    Lists(index)
    found = load_file(here / FILE)
    assert all(torch.equal(right[name], found[name]) for name in right)


def test_a_folder_that_takes_no_file_is_left_as_it_is(tmp_path: Path) -> None:
    index = index_of_clusters(tmp_path, COUNT)
    (tmp_path / FILE / "in the way").mkdir(parents=True)
    before = sorted(path.name for path in tmp_path.iterdir())
    vectors, of = question(GradCosScore, index)
    assert Lists(index).best(vectors, of, 3, True).indices.shape == (5, 3)
    assert sorted(path.name for path in tmp_path.iterdir()) == before


def test_an_unfinished_index_is_refused(tmp_path: Path) -> None:
    index = index_of_clusters(tmp_path, COUNT)
    (tmp_path / "000001.json").unlink()
    with pytest.raises(ValueError, match="shard 1 is missing or not finished"):
        Lists(index)


def test_an_index_that_is_being_built_again_is_refused(tmp_path: Path) -> None:
    index = index_of_clusters(tmp_path, COUNT)
    lists, (vectors, of) = Lists(index), question(GradCosScore, index)
    (tmp_path / "000001.json").unlink()
    with pytest.raises(ValueError, match="shard 1 is missing or not finished"):
        lists.best(vectors, of, COUNT, True)


def test_without_faiss_the_extra_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    index = index_of_clusters(tmp_path, COUNT)
    monkeypatch.setitem(sys.modules, "faiss", None)
    with pytest.raises(ImportError, match=r'pip install "captum_tfa\[faiss\]"'):
        Lists(index)
    assert not (tmp_path / FILE).exists()


@pytest.mark.parametrize("count", [1, 2, 9])
def test_few_examples_are_few_lists(count: int, tmp_path: Path) -> None:
    index = index_of_clusters(tmp_path, count)
    vectors, of = question(GradCosScore, index)
    found = Lists(index, share=1.0).best(vectors, of, 5, True)
    assert torch.equal(found.indices, best(index, vectors, of, 5, True).indices)
