"""Weights are checked, and come back from a file as they were, or are refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from captum_tfa import ParameterWeights
from captum_tfa.scores.weights import query_hashes
from tests.attr.small_nets import pictures

GROUPS = {"early": ("conv1.weight", "conv1.bias"), "späte": ("fc.weight",)}


def some(queries: frozenset[str] = frozenset()) -> ParameterWeights:
    return ParameterWeights(GROUPS, (0.25, 0.75), {"k": 10, "score": "grad-cos"}, queries)


def test_by_group_and_by_parameter() -> None:
    assert some().by_group == {"early": 0.25, "späte": 0.75}
    assert some().by_parameter == {"conv1.weight": 0.25, "conv1.bias": 0.25, "fc.weight": 0.75}


def test_a_file_holds_them_in_plain_words(tmp_path: Path) -> None:
    queries = pictures(3, 1)
    weights = some(frozenset(query_hashes(queries)))
    path = weights.save(tmp_path / "weights.json")
    found = ParameterWeights.load(path)
    for part in ("groups", "weights", "learned", "queries"):
        assert getattr(found, part) == getattr(weights, part)
    content = json.loads(path.read_text(encoding="utf-8"))
    assert content["weights"] == {"early": 0.25, "späte": 0.75}
    assert content["groups"]["early"] == ["conv1.weight", "conv1.bias"]
    assert [entry.name for entry in tmp_path.iterdir()] == ["weights.json"]
    some().save(path)  # earlier weights may be replaced
    assert ParameterWeights.load(path).queries == frozenset()


def test_nothing_else_is_replaced_and_nothing_half_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = tmp_path / "notes.json"
    other.write_text("{}")
    with pytest.raises(FileExistsError, match="holds no weights"):
        some().save(other)
    with pytest.raises(FileExistsError, match="holds no weights"):
        some().save(tmp_path)
    assert other.read_text() == "{}"
    path = some().save(tmp_path / "weights.json")
    before = path.read_text(encoding="utf-8")

    def fails(self: Path, target: Path) -> Path:
        raise OSError("disk full")

    monkeypatch.setattr(Path, "replace", fails)
    with pytest.raises(OSError, match="disk full"):
        some(frozenset(["a"])).save(path)
    assert path.read_text(encoding="utf-8") == before
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["notes.json", "weights.json"]


def test_a_file_of_something_else_is_refused(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="is no file"):
        ParameterWeights.load(tmp_path / "none.json")
    path = tmp_path / "weights.json"
    whole = json.loads(some().save(path).read_text(encoding="utf-8"))
    broken: list[Any] = ["{", "[]", json.dumps({**whole, "version": 2}), b"\xff\xfe"]
    broken += [
        json.dumps({**whole, **change})
        for change in ({"weights": 3}, {"groups": {}}, {"weights": {"early": -1, "späte": 1}},
                       {"learned": None})
    ]  # fmt: skip
    for content in broken:
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        with pytest.raises(ValueError, match="holds no weights, or is damaged"):
            ParameterWeights.load(path)


@pytest.mark.parametrize(
    ("groups", "weights", "message"),
    [
        (GROUPS, (1.0,), "1 weights came for 2 groups"),
        (GROUPS, (-0.1, 1.1), "at least 0"),
        (GROUPS, (float("nan"), 1.0), "must be finite"),
        (GROUPS, (0.0, 0.0), "not all 0"),
        ({"a": ("w",), "b": ("w",)}, (0.5, 0.5), "stands in two groups"),
    ],
)
def test_bad_weights_are_refused(groups: Any, weights: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        ParameterWeights(groups, weights)


def test_queries_that_were_learned_from_are_known_by_their_pixels() -> None:
    learned, others = pictures(4, 1), pictures(4, 2)
    weights = some(frozenset(query_hashes(learned)))
    weights.refuse_queries(others)
    for given in (torch.cat([others, learned[2:3]]), torch.cat([others, learned[2:3]]).float()):
        with pytest.raises(ValueError, match=r"1 of 5 queries .*the first is query 4"):
            weights.refuse_queries(given)
    both = some(frozenset(query_hashes((learned, others))))
    both.refuse_queries((others, learned))
    with pytest.raises(ValueError, match="4 of 4 queries"):
        both.refuse_queries((learned, others))
