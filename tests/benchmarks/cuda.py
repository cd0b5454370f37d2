"""The same on a GPU: float32 with TF32 off and on, and batch sizes from 1 to 64."""

from __future__ import annotations

import statistics
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch

from tests.benchmarks import map_contenders as maps
from tests.benchmarks import rank_contenders as ranks
from tests.benchmarks.map_table import names
from tests.benchmarks.markdown import number, spread, table
from tests.benchmarks.measuring import flops, paired, ratios, seconds
from tests.benchmarks.models import SIDES, SMALL, build, problem
from tests.benchmarks.rank_peers import peer_rankings

_SAMPLES = 64
_BATCHES = (1, 4, 16, 64)
_RANKED = {SMALL: (2000, 16, 64), "resnet18": (64, 4, 32)}


def sections(quick: bool) -> dict[str, str]:
    """Both tables, or the reason why there are none."""
    if not torch.cuda.is_available():
        return {
            "cuda": "### GPU\n\nNot measured: no GPU was at hand. `--only cuda` measures on one."
        }
    map_rows: list[list[str]] = []
    rank_rows: list[list[str]] = []
    for allowed in (False, True):
        with _tf32(allowed):
            ceiling = _ceiling()
            for model in (SMALL, "resnet18") if quick else SIDES:
                map_rows += _map_rows(model, allowed, ceiling)
            for model in _RANKED:
                rank_rows += _rank_rows(model, allowed)
    map_head = (
        "model",
        "TF32",
        "batch",
        "contender",
        "ms a sample",
        "times ours (spread)",
        "F in time",
        "TFLOP/s",
        "of the ceiling",
        "peak MB",
    )
    rank_head = ("model", "TF32", "contender", "examples a second", "ours is faster (spread)")
    return {
        "cuda": f"### GPU: {torch.cuda.get_device_name()}\n\nThe ceiling is the rate of a large "
        f"matrix product in the same mode, measured here.\n\n{table(map_head, map_rows)}\n\n"
        f"{table(rank_head, rank_rows)}"
    }


@contextmanager
def _tf32(allowed: bool) -> Iterator[None]:
    flags: tuple[Any, ...] = (torch.backends.cuda.matmul, torch.backends.cudnn)
    before = [flag.allow_tf32 for flag in flags]
    try:
        for flag in flags:
            flag.allow_tf32 = allowed
        yield
    finally:
        for flag, value in zip(flags, before, strict=True):
            flag.allow_tf32 = value


def _ceiling(side: int = 8192) -> float:
    """Floating-point operations a second of a large matrix product."""
    matrix = torch.randn(side, side, device="cuda")
    times = [seconds(lambda: matrix @ matrix) for _ in range(5)]
    return 2 * side**3 / min(times[1:])


def _map_rows(model: str, tf32: bool, ceiling: float) -> list[list[str]]:
    given = problem(build(model), SIDES[model], device="cuda")
    rows = []
    for batch in _BATCHES:
        # Naive works on one sample at a time, whatever the batch.
        chosen = [name for name in names(model) if batch == 1 or name in (maps.VMAP, maps.OURS)]
        chosen = [name for name in chosen if name != maps.COMPILED]
        calls = {name: maps.contender(name, given, _SAMPLES, batch) for name in chosen}
        forward = maps.contender(maps.FORWARD, given, _SAMPLES)
        times, reasons = paired({maps.FORWARD: forward, **calls}, rounds=5)
        for name, call in calls.items():
            first = [model, "on" if tf32 else "off", str(batch), name]
            if name in reasons or maps.OURS not in times:
                rows.append([*first, reasons.get(name, "-"), *["-"] * 5])
                continue
            torch.cuda.reset_peak_memory_stats()
            seconds(call)
            peak = torch.cuda.max_memory_allocated() / 2**20
            rate = flops(call) / statistics.median(times[name])
            rows.append(
                [
                    *first,
                    number(1e3 * statistics.median(times[name]) / _SAMPLES),
                    spread(ratios(times[name], times[maps.OURS])),
                    number(ratios(times[name], times[maps.FORWARD])[0]),
                    number(rate / 1e12),
                    f"{rate / ceiling:.0%}",
                    number(peak),
                ]
            )
    return rows


def _rank_rows(model: str, tf32: bool) -> list[list[str]]:
    train, tests, batch = _RANKED[model]
    given = problem(build(model), SIDES[model], train, tests, "cuda")
    rankings = {**ranks.own_rankings(given, batch), **peer_rankings(given, batch)}
    calls = {name: ranking.call for name, ranking in rankings.items()}
    times, reasons = paired(calls, rounds=3, limit=60)
    rows = []
    for name in calls:
        first = [model, "on" if tf32 else "off", name]
        if name in reasons:
            rows.append([*first, reasons[name], "-"])
            continue
        rate = number(train / statistics.median(times[name]))
        rows.append([*first, rate, spread(ratios(times[name], times[ranks.OURS]))])
    return rows
