"""INDEX BUILD: projecting every gradient, beside the exact ranking with one question, and peers."""

from __future__ import annotations

import statistics
import tempfile
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from captum_tfa import GradCosScore, GradientIndex, ScoreInfluence
from tests.benchmarks.index_search import cpu_seconds
from tests.benchmarks.markdown import number, spread, table, verdict
from tests.benchmarks.measuring import Call, ratios
from tests.benchmarks.models import SIDES, SMALL, build, problem
from tests.benchmarks.rank_peers import package

# Training images, those of them that traker gets, and rounds.
FULL = {SMALL: (1024, 64, 5), "resnet18": (32, 0, 5)}
QUICK = {SMALL: (256, 32, 3), "resnet18": (16, 0, 3)}
_DIMENSION = 2048
_OURS, _EXACT, _TRAKER = "index build", "exact ranking, one question", "traker, BasicProjector"
_CAPTUM = "captum, random projection (last layer only)"


def section(model: str, count: int, few: int, rounds: int) -> dict[str, str]:
    """The table of a model and its target; processor times of one thread."""
    torch.set_num_threads(1)
    given = problem(build(model), SIDES[model], count)
    data = TensorDataset(given.train, given.train_labels)
    score = GradCosScore(given.model)
    test = given.test[:1], given.test_labels[:1]

    def ours() -> None:
        with tempfile.TemporaryDirectory() as folder:
            GradientIndex.build(score, data, folder, _DIMENSION)

    calls: dict[str, tuple[Call, int]] = {
        _EXACT: (lambda: ScoreInfluence(score, data).influence(test, k=10), count),
        _OURS: (ours, count),
    }
    if few:
        part = TensorDataset(given.train[:few], given.train_labels[:few])
        calls[_TRAKER] = (_traker(given.model, part), few)
        calls[_CAPTUM] = (_captum(given.model, data), count)
    times: dict[str, list[float]] = {name: [] for name in calls}
    for call, _ in calls.values():
        call()
    for turn in range(rounds):
        names = list(calls)[turn % len(calls) :] + list(calls)[: turn % len(calls)]
        for name in names:
            call, images = calls[name]
            times[name].append(cpu_seconds(call) / images)
    rows = [
        [
            name,
            number(1 / statistics.median(found)),
            spread(ratios(found, times[_OURS])),
        ]
        for name, found in times.items()
    ]
    measured = ratios(times[_EXACT], times[_OURS])[0]
    targets = [verdict("speed of the exact ranking", "≥ 0.8", measured, measured >= 0.8)]
    text = [
        f"### Index: building, {model}, {SIDES[model]}², {count} images, {_DIMENSION:,} dimensions",
        table(("contender", "images a second", "ours is faster (spread)"), rows),
        table(("target", "wanted", "measured", ""), targets),
    ]
    return {f"index build {model}": "\n\n".join(text)}


def _traker(model: nn.Module, data: TensorDataset) -> Call:
    trak = package("trak")
    projectors = package("trak.projectors")

    def call() -> None:
        with tempfile.TemporaryDirectory() as folder:
            traker = trak.TRAKer(
                model,
                "image_classification",
                len(data),
                save_dir=folder,
                device="cpu",
                projector=_basic(projectors, model),
                proj_dim=_DIMENSION,
                use_half_precision=False,
                logging_level=50,
            )
            traker.load_checkpoint(model.state_dict(), 0)
            for batch in DataLoader(data, 16):
                traker.featurize(batch, num_samples=len(batch[0]))

    return call


def _basic(projectors: Any, model: nn.Module) -> Any:
    return projectors.BasicProjector(
        sum(parameter.numel() for parameter in model.parameters()),
        _DIMENSION,
        0,
        projectors.ProjectionType.rademacher,
        torch.device("cpu"),
        block_size=256,
    )


def _captum(model: nn.Module, data: TensorDataset) -> Call:
    influence = package("captum.influence")
    neighbors = package("captum.influence._utils.nearest_neighbors").NearestNeighbors
    # Its own search trees need a package that has to be compiled; building them is left out.
    kept = type("Kept", (neighbors,), {"setup": lambda *_: None, "get_nearest_neighbors": None})

    def call() -> None:
        with tempfile.TemporaryDirectory() as folder:
            file = Path(folder) / "state.pt"
            torch.save(model.state_dict(), file)
            last = [module for module in model.modules() if isinstance(module, nn.Linear)][-1]
            influence.TracInCPFastRandProj(
                model,
                last,
                data,
                [str(file)],
                checkpoints_load_func=lambda net, path: net.load_state_dict(torch.load(path)) and 1,
                loss_fn=nn.CrossEntropyLoss(reduction="sum"),
                batch_size=64,
                nearest_neighbors=kept(),
                projection_dim=_DIMENSION,
            )

    return call
