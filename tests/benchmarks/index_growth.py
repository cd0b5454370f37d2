"""INDEX GROWTH: building and searching against the number of images, with the peak of memory."""

from __future__ import annotations

import shutil
import statistics
import tempfile
from pathlib import Path

import matplotlib
import numpy as np
import torch
from torch import nn
from torch.utils.data import Dataset

from captum_tfa import GradCosScore, GradientIndex
from tests.benchmarks.index_search import ask, cpu_seconds, stand_in
from tests.benchmarks.markdown import number, table
from tests.benchmarks.measuring import Call, peak_megabytes
from tests.benchmarks.models import SMALL
from tests.benchmarks.models import build as built

matplotlib.use("Agg")
NAME = "index growth"
FULL = ((256, 512, 1024, 2048, 4096), (25_000, 50_000, 100_000, 200_000, 400_000), 3)
QUICK = ((64, 128, 256, 512), (25_000, 50_000, 100_000, 200_000), 3)


class _Drawn(Dataset[tuple[torch.Tensor, int]]):
    """Images that are drawn when they are asked for, so that they take no memory."""

    def __init__(self, count: int) -> None:
        self.count = count

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, index: int) -> tuple[torch.Tensor, int]:
        draw = torch.Generator().manual_seed(index)
        return torch.randn(3, 32, 32, generator=draw), index % 10


def sections(figure: Path, quick: bool) -> dict[str, str]:
    """The table, and its figure; processor times of one thread."""
    torch.set_num_threads(1)
    images, vectors, rounds = QUICK if quick else FULL
    building = [_building(count, rounds) for count in images]
    searching = [_searching(count, rounds) for count in vectors]
    _draw(
        figure,
        (images, [time for time, _ in building]),
        (vectors, [time for time, _ in searching]),
    )
    rows = [
        [
            what,
            f"{', '.join(f'{size:,}' for size in sizes)}",
            ", ".join(number(time) for time, _ in found),
            f"{_slope(sizes, [time for time, _ in found]):.2f}",
            ", ".join(number(peak) for _, peak in found),
        ]
        for what, sizes, found in (
            ("building, small CNN, images", images, building),
            ("a question, vectors", vectors, searching),
        )
    ]
    head = ("task", "sizes", "s", "slope", "peak MB of a process of its own")
    text = "### Index: how cost grows\n\nSlope 1: twice the size costs twice as much.\n\n"
    return {NAME: f"{text}{table(head, rows)}\n\n![How cost grows](images/{figure.name})"}


def _building(count: int, rounds: int) -> tuple[float, float]:
    """Processor seconds, and the peak of memory."""
    times = [cpu_seconds(build_anew(count)) for _ in range(rounds)]
    return statistics.median(times), peak_megabytes(build_anew, count)


def build_anew(count: int) -> Call:
    """A call that builds an index of so many images."""
    score = GradCosScore(built(SMALL))

    def call() -> None:
        with tempfile.TemporaryDirectory() as folder:
            GradientIndex.build(score, _Drawn(count), folder)

    return call


def _searching(count: int, rounds: int) -> tuple[float, float]:
    folder = Path(tempfile.mkdtemp())
    try:
        stand_in(folder, _linear(), count)
        call = ask_one(folder)
        call()
        times = [cpu_seconds(call) for _ in range(rounds)]
        return statistics.median(times), peak_megabytes(ask_one, folder)
    finally:
        shutil.rmtree(folder)


def ask_one(folder: Path) -> Call:
    """A call that asks an index one question."""
    index, score = GradientIndex.open(folder), _linear()
    return lambda: ask(index, score, 1)


def _linear() -> GradCosScore:
    torch.manual_seed(0)
    return GradCosScore(nn.Linear(8, 4).eval())


def _slope(sizes: tuple[int, ...], times: list[float]) -> float:
    return float(np.polyfit(np.log(sizes), np.log(times), 1)[0])


def _draw(file: Path, *curves: tuple[tuple[int, ...], list[float]]) -> None:
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(1, 2, figsize=(7.5, 3))
    titles = ("building, small CNN", "one question, 2,048 dimensions")
    for axis, title, (sizes, times) in zip(axes, titles, curves, strict=True):
        axis.loglog(sizes, times, marker="o")
        axis.loglog(sizes, [times[0] * size / sizes[0] for size in sizes], color="grey", lw=0.7)
        axis.set(title=title, xlabel="images", ylabel="processor seconds")
        axis.set_xticks(sizes, [f"{size:,}" for size in sizes])
        axis.minorticks_off()
    figure.tight_layout()
    figure.savefig(file, dpi=110)
