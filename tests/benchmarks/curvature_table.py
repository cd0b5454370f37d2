"""CURVATURE: how long fitting each kind takes, solving, and scoring under it, beside peers."""

from __future__ import annotations

import statistics
from typing import Any

import torch
from torch.utils.data import TensorDataset

from captum_tfa.curvature import Curvature, fit_curvature
from tests.benchmarks.curvature_peers import Kronfluence
from tests.benchmarks.markdown import number, spread, table, verdict
from tests.benchmarks.measuring import Call, paired, ratios, seconds
from tests.benchmarks.models import SIDES, SMALL, Problem, build, problem
from tests.benchmarks.under_curvature import tables

# Training examples, test examples, rounds, seconds that the first call may take.
FULL = {SMALL: (1500, 16, 3, 300), "resnet18": (16, 4, 3, 900)}
QUICK = {SMALL: (128, 16, 2, 120)}
_BATCH = 64
_OURS: dict[str, dict[str, Any]] = {
    "diagonal": {"kind": "diagonal"},
    "kfac": {"kind": "kfac"},
    "ekfac": {"kind": "ekfac"},
    "fisher of 200 gradients": {"kind": "fisher", "max_examples": 200},
    "fisher of 1500 gradients": {"kind": "fisher", "max_examples": 1500},
}
_THEIRS = ("diagonal", "kfac", "ekfac")


def section(model: str, count: int, tests: int, rounds: int, limit: int) -> dict[str, str]:
    """The tables of a model and their targets."""
    given = problem(build(model), SIDES[model], count, tests)
    fitted: dict[str, Curvature] = {}
    peers = {kind: Kronfluence(given, kind, _BATCH) for kind in _THEIRS}
    calls: dict[str, Call] = {
        name: _ours(given, name, fitted)
        for name, options in _OURS.items()
        if options.get("max_examples", 0) <= count
    }
    calls |= {f"kronfluence, {kind}": peer.fit for kind, peer in peers.items()}
    times, reasons = paired(calls, rounds, limit)
    vectors = {
        name: torch.randn(16, *parameter.shape)
        for name, parameter in given.model.named_parameters()
    }
    rows = []
    for name in calls:
        if name in reasons:
            rows.append([name, reasons[name], "-", "-"])
            continue
        kind = name.removeprefix("kronfluence, ")
        peer = f"kronfluence, {kind}"
        compared = kind == name and peer in times
        ratio = spread(ratios(times[peer], times[name])) if compared else "-"
        solving = "-"
        if name in fitted:
            one = fitted[name]
            found = [seconds(lambda one=one: one.solve(vectors)) for _ in range(rounds)]
            solving = number(1000 * statistics.median(found) / 16)
        rows.append([name, number(statistics.median(times[name])), ratio, solving])
    head = ("kind", "fitting, s", "ours is faster (spread)", "solving, ms a vector")
    parts = [
        f"### Curvature: {model}, {SIDES[model]}², {count} training images",
        table(head, rows),
    ]
    if not {"ekfac", "kronfluence, ekfac"} & reasons.keys():
        faster = ratios(times["kronfluence, ekfac"], times["ekfac"])[0]
        target = verdict("ekfac against kronfluence's", "≥ 1", faster, faster >= 1)
        parts.append(table(("target", "wanted", "measured", ""), [target]))
    if "ekfac" in fitted:
        parts.append(tables(given, fitted["ekfac"], peers["ekfac"], _BATCH, rounds, limit))
    return {f"curvature {model}": "\n\n".join(parts)}


def _ours(given: Problem, name: str, fitted: dict[str, Curvature]) -> Call:
    data = TensorDataset(given.train, given.train_labels)

    def call() -> None:
        fitted[name] = fit_curvature(given.model, data, batch_size=_BATCH, **_OURS[name])

    return call
