"""Scores of several trained networks, each kept in a folder as it comes.

A run that was cut off goes on with the next one, and what is there makes a table.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.utils.data import TensorDataset

from captum_tfa import GradDotScore, GradientIndex, ScoreInfluence, TrakInfluence
from captum_tfa.metrics import linear_datamodelling_score
from captum_tfa.metrics.subsets import Retrained
from common.rankings import EKFAC, State, arnoldi, feature_similarity, tracin, tracin_fast, trak
from common.remembering import remembered_tensors
from common.score_family import both_ways, family, made


class Asked(NamedTuple):
    """What is compared.

    Attributes:
        train: The training set.
        queries: What is asked.
        learners: Further queries, from which weights of layers are learned.
    """

    train: TensorDataset
    queries: TensorDataset
    learners: TensorDataset


class KeptScores:
    """Scores ``[Q, N]`` by name, measured once.

    Args:
        folder: Where they are kept.
        told: All that the networks and the data depend on.
        asked: The data.
        model_of: From a seed to a network of everything and its checkpoints.
        curvature_of: As for `made`.
        dimension: Of TRAK's projections.
    """

    def __init__(
        self,
        folder: Path,
        told: Mapping[str, Any],
        asked: Asked,
        model_of: Callable[[int], tuple[nn.Sequential, Sequence[State]]],
        curvature_of: int,
        dimension: int,
    ) -> None:
        self.folder, self.asked, self.model_of = folder, asked, model_of
        self.curvature_of, self.dimension = curvature_of, dimension
        self.told = {**told, "curvature_of": curvature_of, "dimension": dimension}

    def of(self, kind: str, seed: int) -> dict[str, Tensor]:
        """The scores of one kind and one network."""
        file = self.folder / f"{kind}, model {seed}.safetensors"
        found = remembered_tensors(file, self.told, lambda: self._measured(kind, seed))
        print(f"{kind}, model {seed}: scored", flush=True)
        return found

    def of_mean(self, kind: str, models: int) -> dict[str, Tensor]:
        """The mean over networks; of TRAK, which is no mean of its parts, what it is over them."""
        if not kind.startswith("TRAK"):
            parts = [self.of(kind, seed) for seed in range(models)]
            return {name: torch.stack([part[name] for part in parts]).mean(0) for name in parts[0]}
        told = {**self.told, "models": models}
        file = self.folder / f"{kind}, {models} models.safetensors"
        return remembered_tensors(file, told, lambda: self._trak(kind, range(models)))

    def of_one_and_all(
        self, kinds: Sequence[str], several: Sequence[str], models: int
    ) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        """All scores of the first network, and of some the mean over ``models`` networks."""
        one: dict[str, Tensor] = {}
        mean: dict[str, Tensor] = {}
        for kind in kinds:
            one.update(self.of(kind, 0))
        for kind in kinds:
            if kind in several:
                mean.update(self.of_mean(kind, models))
        draw = torch.Generator().manual_seed(0)
        shape = len(self.asked.queries), len(self.asked.train)
        one["random"] = torch.randn(shape, generator=draw)
        return one, mean

    def lds_by_layer(self, kind: str, seed: int, retrained: Retrained) -> dict[str, Tensor]:
        """The LDS of each layer's contributions alone, with the ends of its interval, ``[G, 3]``.

        Args:
            kind: As for `made`; of a kind with weights.
            seed: Of the network.
            retrained: Models trained on subsets; the intervals are over these.
        """
        train, queries, _ = self.asked
        model, states = self.model_of(seed)

        def measured() -> dict[str, Tensor]:
            score, names = made(kind, model, states, train, self.curvature_of)
            ranking = ScoreInfluence(score, train)
            table: Any = ranking.influence(queries.tensors, by_group="layer")
            found = [
                linear_datamodelling_score(part, retrained).over_subsets
                for part in table.contributions.unbind(-1)
            ]
            return {names[0]: torch.tensor(found)}

        told = {**self.told, "trainings": len(retrained.seeds)}
        return remembered_tensors(
            self.folder / f"layers of {kind}, model {seed}.safetensors", told, measured
        )

    def _measured(self, kind: str, seed: int) -> dict[str, Tensor]:
        (train, queries, learners), (model, states) = self.asked, self.model_of(seed)
        peers: dict[str, Callable[[], Tensor]] = {
            "TracInCP (captum)": lambda: tracin(model, states, train, queries),
            "TracInCPFast (captum)": lambda: tracin_fast(model, states, train, queries)[0],
            "Arnoldi (captum)": lambda: arnoldi(model, train, queries, self.curvature_of, 50),
            "EK-FAC (kronfluence)": lambda: EKFAC(model, train).pairs(queries),
            "feature similarity": lambda: feature_similarity(
                model, train.tensors[0], queries.tensors[0]
            ),
        }
        if kind.startswith("TRAK"):
            return self._trak(kind, [seed])
        if kind in peers:
            return {kind: peers[kind]()}
        score, names = made(kind, model, states, train, self.curvature_of)
        return family(kind, score, names, train, queries, learners)

    def _trak(self, kind: str, seeds: Sequence[int]) -> dict[str, Tensor]:
        train, queries, learners = self.asked
        models = [self.model_of(seed)[0] for seed in seeds]
        if kind == "TRAK (traker)":
            return {kind: trak(models, train, queries, self.dimension)}
        scores = [GradDotScore(model, loss_fn="margin") for model in models]
        places = [self.folder / f"index {seed}, {self.dimension}" for seed in seeds]
        indices = [
            GradientIndex.build(score, train, place, self.dimension)
            for score, place in zip(scores, places, strict=True)
        ]
        return both_ways(TrakInfluence(scores, indices), (kind,), queries, learners)


def kept_states(
    file: Path, told: Mapping[str, Any], train: Callable[[], Sequence[State]]
) -> list[dict[str, Tensor]]:
    """The checkpoints of one training, which is done once."""

    def flat() -> dict[str, Tensor]:
        return {
            f"{number} {name}": value
            for number, state in enumerate(train())
            for name, value in state.items()
        }

    found: dict[int, dict[str, Tensor]] = {}
    for key, value in remembered_tensors(file, dict(told), flat).items():
        number, name = key.split(" ")
        found.setdefault(int(number), {})[name] = value
    return [found[number] for number in sorted(found)]
