"""How cost grows with what is asked: slopes of logarithms, and a plot."""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from tests.benchmarks import map_contenders as maps
from tests.benchmarks import rank_contenders as ranks
from tests.benchmarks.markdown import number, table
from tests.benchmarks.measuring import Call, paired
from tests.benchmarks.models import SMALL, WideCNN, build, problem

NAIVE, OURS = "naive", "ours"


@dataclass(frozen=True)
class Axis:
    """One quantity that grows, all others kept.

    Attributes:
        name: what grows.
        task: what is done.
        values: how large it is.
        make: from a value to both sides.
        shown: from a value to what the axis of the plot shows.
    """

    name: str
    task: str
    values: Sequence[int]
    make: Callable[[int], dict[str, Call]]
    shown: Callable[[int], int] = int


def axes(quick: bool) -> list[Axis]:
    """What is measured; without its largest values if it shall be quick."""
    found = [
        Axis("training images N", "rank, Q = 4", (64, 128, 256, 512), lambda n: _rank(n, 4)),
        Axis("test images Q", "rank, N = 128", (1, 4, 16, 64), lambda q: _rank(128, q)),
        Axis("image side", "map, 8 samples", (32, 64, 128, 192), lambda side: _map(SMALL, side, 8)),
        Axis("noise samples", "map, 32²", (2, 8, 32, 128), lambda count: _map(SMALL, 32, count)),
        Axis(
            "parameters",
            "map, 32², 8 samples",
            (16, 32, 64, 128, 256),
            lambda width: _map(width, 32, 8),
            lambda width: sum(value.numel() for value in WideCNN(width).parameters()),
        ),
    ]
    if not quick:
        return found
    return [Axis(a.name, a.task, a.values[:3], a.make, a.shown) for a in found]


def sections(picture: Path, quick: bool) -> dict[str, str]:
    """The table of slopes; the plot is saved."""
    measured = {axis: _measured(axis, rounds=2 if quick else 3) for axis in axes(quick)}
    _plot(measured, picture)
    rows = []
    for axis, (sizes, times) in measured.items():
        for side in (NAIVE, OURS):
            slope = np.polyfit(np.log(sizes), np.log(times[side]), 1)[0]
            last = math.log(times[side][-1] / times[side][-2]) / math.log(sizes[-1] / sizes[-2])
            seconds = ", ".join(number(1e3 * value) for value in times[side])
            values = ", ".join(f"{size:,}" for size in sizes)
            cells = [axis.task, side, values, seconds, f"{slope:.2f}", f"{last:.2f}"]
            rows.append([axis.name, *cells])
    head = ("grows", "task", "side", "values", "ms", "slope", "slope of the last step")
    return {
        "growth": "### How cost grows\n\nSmall CNN, and three convolutions of growing width for "
        "the parameters. Naive caches its test gradients. Slope 1: twice the size costs twice as "
        f"much.\n\n{table(head, rows)}\n\n![How cost grows](images/{picture.name})"
    }


def _measured(axis: Axis, rounds: int) -> tuple[list[int], dict[str, list[float]]]:
    times: dict[str, list[float]] = {NAIVE: [], OURS: []}
    for value in axis.values:
        found, _ = paired(axis.make(value), rounds)
        for side, each in found.items():
            times[side].append(statistics.median(each))
    return [axis.shown(value) for value in axis.values], times


def _rank(train: int, tests: int) -> dict[str, Call]:
    given = problem(build(SMALL), 32, train, tests)
    return {NAIVE: ranks.naive(given), OURS: ranks.ours(given, 64)}


def _map(model: str | int, side: int, samples: int) -> dict[str, Call]:
    given = problem(WideCNN(model).eval() if isinstance(model, int) else build(model), side)
    return {
        NAIVE: maps.contender(maps.CACHED, given, samples),
        OURS: maps.contender(maps.OURS, given, samples),
    }


def _plot(measured: dict[Axis, tuple[list[int], dict[str, list[float]]]], picture: Path) -> None:
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt
    from matplotlib.ticker import EngFormatter, LogLocator, NullLocator

    figure, panels = plt.subplots(
        1, len(measured), figsize=(3 * len(measured), 3), layout="constrained"
    )
    for panel, (axis, (sizes, times)) in zip(panels, measured.items(), strict=True):
        for side, style in ((NAIVE, "o--"), (OURS, "o-")):
            panel.loglog(sizes, times[side], style, label=side)
        panel.set(xlabel=axis.name, title=axis.task)
        panel.set_xticks(sizes)
        panel.xaxis.set_major_formatter(
            EngFormatter(places=None if sizes[-1] < 1000 else 0, sep="")
        )
        # The default ticks between powers of ten overlap where an axis spans few of them.
        panel.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        panel.yaxis.set_major_formatter("{x:g}")
        for each in (panel.xaxis, panel.yaxis):
            each.set_minor_locator(NullLocator())
        panel.grid(alpha=0.3)
    panels[0].set_ylabel("seconds")
    panels[0].legend()
    picture.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(picture, dpi=120)
    plt.close(figure)
