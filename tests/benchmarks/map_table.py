"""MAP: what a SmoothGrad map of one training image costs."""

from __future__ import annotations

import statistics
from dataclasses import dataclass

from tests.benchmarks import map_contenders as maps
from tests.benchmarks.markdown import number, spread, table, verdict
from tests.benchmarks.measuring import flops, paired, ratios
from tests.benchmarks.models import SIDES, SMALL, build, problem

TARGETS = {  # how many times faster than naive, and than naive with a cached test gradient
    SMALL: (3.0, None),
    "resnet18": (1.6, 1.3),
    "vit_b_16": (None, 1.0),
}


@dataclass(frozen=True)
class Effort:
    """How much is measured: noise samples a map and rounds, by model."""

    samples: dict[str, int]
    rounds: dict[str, int]


FULL = Effort(
    {SMALL: 16, "resnet18": 8, "resnet50": 2, "vit_b_16": 2},
    {SMALL: 9, "resnet18": 4, "resnet50": 3, "vit_b_16": 3},
)
QUICK = Effort({SMALL: 8, "resnet18": 4}, {SMALL: 3, "resnet18": 2})

_HEAD = (
    "model",
    "contender",
    "ms a sample",
    "times ours (spread)",
    "naive / it (spread)",
    "F in time",
    "F in FLOPs",
    "differs",
)


def section(model: str, samples: int, rounds: int) -> dict[str, str]:
    """The table of a model and its targets."""
    rows, targets = _of_model(model, samples, rounds)
    parts = [f"### Map: {model}, {SIDES[model]}², {samples} noise samples", table(_HEAD, rows)]
    if targets:
        parts.append(table(("target", "wanted", "measured", ""), targets))
    return {f"map {model}": "\n\n".join(parts)}


def names(model: str) -> list[str]:
    """The contenders for a model; compiling takes minutes for anything but a small net."""
    found = [maps.NAIVE, maps.CACHED, maps.VMAP, maps.OURS]
    return [*found, maps.COMPILED] if model == SMALL else found


def _of_model(model: str, samples: int, rounds: int) -> tuple[list[list[str]], list[list[str]]]:
    given = problem(build(model), SIDES[model])
    contenders = {name: maps.contender(name, given, samples) for name in names(model)}
    forward = maps.contender(maps.FORWARD, given, samples)
    times, reasons = paired({maps.FORWARD: forward, **contenders}, rounds, limit=240)
    counted = {name: _marginal_flops(model, name) for name in contenders if name != maps.COMPILED}
    reference = maps.contender(maps.NAIVE, given, 1, noise=0.0)()
    rows = []
    for name in contenders:
        if name in reasons:
            rows.append([model, name, reasons[name], *["-"] * (len(_HEAD) - 3)])
            continue
        found = maps.contender(name, given, 1, noise=0.0)()
        compiled = name == maps.COMPILED
        rows.append(
            [
                model,
                name,
                number(1e3 * statistics.median(times[name]) / samples),
                spread(ratios(times[name], times[maps.OURS])),
                spread(ratios(times[maps.NAIVE], times[name])),
                number(ratios(times[name], times[maps.FORWARD])[0]),
                "as vmap" if compiled else number(counted[name]),
                f"{float((found - reference).norm() / reference.norm()):.0e}",
            ]
        )
    rows.append(
        [
            model,
            "forward, no gradient",
            number(1e3 * statistics.median(times[maps.FORWARD]) / samples),
            *["-", "-", "1", "1"],
            "-",
        ]
    )
    return rows, _targets(model, times, counted[maps.OURS])


def _marginal_flops(model: str, name: str) -> float:
    """FLOPs of one more noise sample, in those of a forward pass.

    The test gradient, which is needed once whatever the number of samples, drops out.
    """
    given = problem(build(model), SIDES[model])
    few, many = (flops(maps.contender(name, given, samples, chunk=1)) for samples in (1, 2))
    # With autograd on: attention's fused path of the inference mode is not counted.
    return (many - few) / flops(lambda: given.model(given.train))


def _targets(model: str, times: dict[str, list[float]], counted: float) -> list[list[str]]:
    if model not in TARGETS:
        return []
    naive, cached = TARGETS[model]
    rows = []
    if model == "resnet18":
        rows.append(verdict("F in FLOPs a sample", "≤ 6.8", counted, counted <= 6.8))
    for wanted, name in ((naive, maps.NAIVE), (cached, maps.CACHED)):
        if wanted is not None:
            ratio = ratios(times[name], times[maps.OURS])[0]
            rows.append(verdict(f"{name} / ours", f"≥ {wanted}", ratio, ratio >= wanted))
    return rows
