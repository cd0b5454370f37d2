from __future__ import annotations

from typing import Any

import pytest
import torch

from captum_tfa.auditing import Evidence


def _fields(pairs: int = 3) -> dict[str, Any]:
    return {
        "mistakes": torch.arange(pairs),
        "indices": torch.arange(pairs),
        "labels": torch.zeros(pairs, dtype=torch.long),
        "scores": -torch.ones(pairs),
        "maps": torch.ones(pairs, 5, 6),
        "images": torch.ones(pairs, 3, 5, 6),
    }


def test_what_makes_a_score_is_what_has_its_sign() -> None:
    maps = torch.tensor([[[-2.0, 1.0]], [[-3.0, 4.0]], [[5.0, 6.0]]])
    given = _fields() | {
        "maps": maps,
        "images": torch.zeros(3, 1, 1, 2),
        "scores": torch.tensor([-0.5, 0.5, 0.0]),
    }
    assert Evidence(**given).responsible.tolist() == [[[2, 0]], [[0, 4]], [[0, 0]]]


@pytest.mark.parametrize(
    ("change", "kind", "words"),
    [
        ({"maps": [1]}, TypeError, "maps is list"),
        ({"labels": torch.zeros(3)}, TypeError, "labels has the type torch.float32"),
        ({"indices": torch.ones(3, dtype=torch.bool)}, TypeError, "give whole numbers"),
        ({"maps": torch.ones(3, 1, 5, 6)}, ValueError, r"must be \[M, H, W\]"),
        ({"images": torch.ones(3, 5, 6)}, ValueError, r"and \[M, C, H, W\]"),
        ({"scores": torch.ones(2)}, ValueError, "there are 3 maps: give one number a map"),
        ({"images": torch.ones(3, 3, 6, 5)}, ValueError, "as large as its image"),
        ({"scores": torch.tensor([1, float("nan"), 1])}, ValueError, "scores has values"),
        ({"maps": torch.full((3, 5, 6), float("inf"))}, ValueError, "maps has values"),
        ({"images": 2 * torch.ones(3, 3, 5, 6)}, ValueError, "floats in"),
        ({"images": torch.ones(3, 3, 5, 6).long()}, ValueError, "or uint8"),
    ],
)
def test_what_does_not_fit_is_refused(change: Any, kind: type[Exception], words: str) -> None:
    with pytest.raises(kind, match=words):
        Evidence(**_fields() | change)


def test_evidence_without_a_pair_is_refused() -> None:
    with pytest.raises(ValueError, match="holds no pair"):
        Evidence(**_fields(0))
