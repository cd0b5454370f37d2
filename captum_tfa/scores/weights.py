"""How much each group of parameters counts in a score: weights, as they were learned and saved.

Parameters differ in what their gradients know. Weights per group, learned without any ground truth,
make a score out of the groups that can be trusted [li2026learning].
"""

from __future__ import annotations

import hashlib
import json
import math
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from captum_tfa.scores.groups import Groups
from captum_tfa.scores.pairing import Inputs
from captum_tfa.whole_file import whole_file

_FORMAT, _VERSION = "captum_tfa.weights", 1


@dataclass(frozen=True, eq=False)
class ParameterWeights:
    """A weight for each group of parameters; `learn_weights` finds them.

    Attributes:
        groups: the parameters of each group.
        weights: one for each group, at least 0; learned ones add up to 1.
        learned: how they were learned: numbers and words, empty for weights of one's own.
        queries: a hash of each query that they were learned from.

    Raises:
        ValueError: weights that do not match the groups, are negative or not finite, or all zero;
            groups that overlap.
    """

    groups: Groups
    weights: tuple[float, ...]
    learned: Mapping[str, Any] = field(default_factory=dict)
    queries: frozenset[str] = frozenset()

    def __post_init__(self) -> None:
        if len(self.weights) != len(self.groups):
            raise ValueError(
                f"{len(self.weights)} weights came for {len(self.groups)} groups; give one for "
                "each."
            )
        fine = all(math.isfinite(weight) and weight >= 0 for weight in self.weights)
        if not fine or not any(self.weights):
            raise ValueError(
                f"weights are {list(self.weights)}; they must be finite, at least 0, and not all 0."
            )
        names = [name for inside in self.groups.values() for name in inside]
        if len(names) != len(set(names)):
            raise ValueError("A parameter stands in two groups; each belongs to one.")

    @property
    def by_group(self) -> dict[str, float]:
        """The weight of each group, by its name."""
        return dict(zip(self.groups, self.weights, strict=True))

    @property
    def by_parameter(self) -> dict[str, float]:
        """The weight of each parameter, by its name."""
        return {
            name: weight
            for inside, weight in zip(self.groups.values(), self.weights, strict=True)
            for name in inside
        }

    def refuse_queries(self, inputs: Inputs) -> None:
        """Raise if the weights were learned from one of these images.

        What is measured on the queries that were learned from says nothing of other ones.

        Args:
            inputs: test images ``[Q, ...]``, or a tuple for models with several inputs.

        Raises:
            ValueError: with the places of those images.
        """
        hashes = query_hashes(inputs)
        seen = [place for place, hashed in enumerate(hashes) if hashed in self.queries]
        if seen:
            raise ValueError(
                f"{len(seen)} of {len(hashes)} queries are among those from which the weights were "
                f"learned (the first is query {seen[0]}); evaluate on others."
            )

    def save(self, file: str | os.PathLike[str]) -> Path:
        """Write them as JSON, whole or not at all.

        Args:
            file: its path, in a folder that exists. Earlier weights there are replaced.

        Returns:
            The path without links.

        Raises:
            FileExistsError: something that holds no weights is there.
            OSError: it cannot be written.
        """
        target = Path(file).expanduser().resolve()
        if target.exists() and _content(target) is None:
            raise FileExistsError(
                f"{target} is there and holds no weights; name a file that is new or of weights."
            )
        content = {
            "format": _FORMAT,
            "version": _VERSION,
            "weights": self.by_group,
            "groups": {name: list(inside) for name, inside in self.groups.items()},
            "learned": dict(self.learned),
            "queries": sorted(self.queries),
        }
        text = json.dumps(content, indent=2, ensure_ascii=False, allow_nan=False) + "\n"
        with whole_file(target) as new:
            new.write_text(text, encoding="utf-8")
        return target

    @classmethod
    def load(cls, file: str | os.PathLike[str]) -> ParameterWeights:
        """Those that `save` wrote.

        Raises:
            FileNotFoundError: there is no such file.
            ValueError: it holds no weights, or is damaged.
        """
        path = Path(file).expanduser()
        if not path.is_file():
            raise FileNotFoundError(f"{path} is no file; give the path that save returned.")
        content = _content(path)
        damaged = f"{path} holds no weights, or is damaged; learn them again and save them."
        if content is None:
            raise ValueError(damaged)
        try:
            by_group = {name: float(weight) for name, weight in content["weights"].items()}
            groups = {str(name): tuple(map(str, content["groups"][name])) for name in by_group}
            learned, queries = dict(content["learned"]), frozenset(map(str, content["queries"]))
            return cls(groups, tuple(by_group.values()), learned, queries)
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise ValueError(damaged) from error


def query_hashes(inputs: Inputs) -> list[str]:
    """A hash of each image's numbers: its label does not count.

    Args:
        inputs: images ``[Q, ...]``, or a tuple for models with several inputs.
    """
    columns = inputs if isinstance(inputs, tuple | list) else (inputs,)
    digests = [hashlib.sha256() for _ in columns[0]]
    for column in columns:
        whole = column.detach().cpu()
        whole = whole.float() if whole.is_floating_point() else whole  # whatever its precision
        for digest, row in zip(digests, whole, strict=True):
            digest.update(repr(tuple(row.shape)).encode())
            digest.update(row.contiguous().numpy().tobytes())
    return [digest.hexdigest()[:16] for digest in digests]


def _content(path: Path) -> dict[str, Any] | None:
    """What a file of weights holds; ``None`` if it is none."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    if not isinstance(content, dict) or content.get("format") != _FORMAT:
        return None
    return content if content.get("version") == _VERSION else None
