"""Labels that are made wrong, and what makes an example suspicious of having one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn
from torch.utils.data import TensorDataset

from captum_tfa import GradCosScore, GradDotScore, ScoreInfluence
from captum_tfa.metrics.intervals import normal_interval
from captum_tfa.metrics.mislabels import MislabelDetection
from common.rankings import EKFAC


def with_wrong_labels(
    data: TensorDataset, classes: int, share: float, seed: int
) -> tuple[TensorDataset, Tensor]:
    """The same images, a share of the labels another class at random; and which, ``[N]``."""
    generator = torch.Generator().manual_seed(seed)
    x, y = data.tensors
    wrong = torch.zeros(len(y), dtype=torch.bool)
    wrong[torch.randperm(len(y), generator=generator)[: round(share * len(y))]] = True
    step = torch.randint(1, classes, (len(y),), generator=generator)
    return TensorDataset(x, torch.where(wrong, (y + step) % classes, y)), wrong


def suspicions(
    model: nn.Module, data: TensorDataset, queries: TensorDataset, ekfac: bool, seed: int
) -> dict[str, Tensor]:
    """Of each training example ``[N]``, by name; higher is more suspicious."""
    x, y = data.tensors
    ranked = {
        kind: ScoreInfluence(score(model), data)
        for kind, score in (("grad-dot", GradDotScore), ("grad-cos", GradCosScore))
    }
    with torch.no_grad():
        losses = [
            nn.functional.cross_entropy(model(part), labels, reduction="none")
            for part, labels in zip(x.split(256), y.split(256), strict=True)
        ]
    found = {
        "self-influence, grad-dot": ranked["grad-dot"].self_influence(),
        "−mean grad-dot for queries": -ranked["grad-dot"].influence(queries.tensors).mean(0),
        "−mean grad-cos for queries": -ranked["grad-cos"].influence(queries.tensors).mean(0),
        "loss": torch.cat(losses),
        "random": torch.rand(len(y), generator=torch.Generator().manual_seed(seed)),
    }
    if ekfac:
        pairs, itself = EKFAC(model, data).scores(queries)
        found["self-influence, EK-FAC (kronfluence)"] = itself
        found["−mean EK-FAC for queries"] = -pairs.mean(0)
    return found


def detection_rows(
    found: Mapping[str, Sequence[MislabelDetection]],
) -> list[tuple[object, ...]]:
    """A row for each suspicion: AUC, recall at 10 % and 20 %, means over sets of wrong labels."""
    rows = []
    for kind, results in found.items():
        numbers = [(r.auc.mean, r.recall[0.1].mean, r.recall[0.2].mean) for r in results]
        parts = torch.tensor(numbers, dtype=torch.double).T
        rows.append((kind, *(normal_interval(part) for part in parts)))
    return rows
