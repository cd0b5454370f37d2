from __future__ import annotations

from typing import Any

import torch
from torch.utils.data import Dataset, Subset

from captum_tfa.auditing.labels import labels_of


class Counted(Dataset[Any]):
    """Pictures that count how often one is fetched, and may tell their labels."""

    def __init__(self, told: dict[str, Any]) -> None:
        self.fetched = 0
        self.true = torch.arange(100) % 7
        for name, value in told.items():
            setattr(self, name, value)

    def __len__(self) -> int:
        return 100

    def __getitem__(self, index: int) -> tuple[torch.Tensor, int]:
        self.fetched += 1
        return torch.zeros(1, 2, 2), int(self.true[index])


TRUE = [place % 7 for place in range(100)]


def test_told_labels_are_read_and_few_pictures_fetched() -> None:
    told: tuple[dict[str, Any], ...] = (
        {"targets": TRUE},
        {"labels": torch.tensor(TRUE)},
        {"samples": [("a.png", label) for label in TRUE]},
    )
    for each in told:
        data = Counted(each)
        assert labels_of(data).tolist() == TRUE
        assert data.fetched == 32


def test_subsets_of_subsets() -> None:
    data = Subset(Subset(Counted({"targets": TRUE}), range(50, 100)), [3, 3, 0])
    assert labels_of(data).tolist() == [53 % 7, 53 % 7, 50 % 7]


def test_what_is_told_wrongly_is_not_believed() -> None:
    wrong: tuple[dict[str, Any], ...] = (
        {"targets": TRUE[1:] + TRUE[:1]},
        {"targets": TRUE[:50]},
        {"targets": [0.5] * 100},
        {"targets": "none"},
        {"targets": TRUE, "target_transform": lambda label: label},
        {},
    )
    for each in wrong:
        data = Counted(each)
        assert labels_of(data).tolist() == TRUE
        assert data.fetched >= 100
