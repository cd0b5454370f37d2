"""CURVATURE: how long fitting each kind takes, and solving, beside kronfluence."""

from __future__ import annotations

import copy
import logging
import statistics
import tempfile
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.data import TensorDataset

from captum_tfa.curvature import Curvature, fit_curvature
from tests.benchmarks.markdown import number, spread, table, verdict
from tests.benchmarks.measuring import Call, paired, ratios, seconds
from tests.benchmarks.models import SIDES, SMALL, Problem, build, problem
from tests.benchmarks.rank_peers import package

# Training examples, rounds, seconds that the first call may take.
FULL = {SMALL: (500, 3, 120), "resnet18": (16, 3, 600)}
QUICK = {SMALL: (128, 2, 60)}
_BATCH = 64
_OURS: dict[str, dict[str, Any]] = {
    "diagonal": {"kind": "diagonal"},
    "kfac": {"kind": "kfac"},
    "ekfac": {"kind": "ekfac"},
    "fisher of 200 gradients": {"kind": "fisher", "max_examples": 200},
    "fisher": {"kind": "fisher"},
}
_THEIRS = ("diagonal", "kfac", "ekfac")


def section(model: str, count: int, rounds: int, limit: int) -> dict[str, str]:
    """The table of a model and its target."""
    given = problem(build(model), SIDES[model], count)
    fitted: dict[str, Curvature] = {}
    calls: dict[str, Call] = {name: _ours(given, name, fitted) for name in _OURS}
    calls |= {f"kronfluence, {kind}": _kronfluence(given, kind) for kind in _THEIRS}
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
    return {f"curvature {model}": "\n\n".join(parts)}


def _ours(given: Problem, name: str, fitted: dict[str, Curvature]) -> Call:
    data = TensorDataset(given.train, given.train_labels)

    def call() -> None:
        fitted[name] = fit_curvature(given.model, data, batch_size=_BATCH, **_OURS[name])

    return call


def _kronfluence(given: Problem, strategy: str) -> Call:
    def call() -> None:
        kronfluence = package("kronfluence")
        analyzer, arguments = package("kronfluence.analyzer"), package("kronfluence.arguments")
        task_class = package("kronfluence.task").Task

        class Classification(task_class):  # type: ignore[misc, valid-type]
            def compute_train_loss(
                self, batch: Any, model: nn.Module, sample: bool = False
            ) -> Tensor:
                logits, labels = model(batch[0]), batch[1]
                if sample:
                    labels = torch.multinomial(logits.detach().softmax(1), 1).flatten()
                return F.cross_entropy(logits, labels, reduction="sum")

            def compute_measurement(self, batch: Any, model: nn.Module) -> Tensor:
                return self.compute_train_loss(batch, model)

        task = Classification()
        model = analyzer.prepare_model(copy.deepcopy(given.model), task)  # it is changed
        with tempfile.TemporaryDirectory() as folder:
            runner = kronfluence.Analyzer(
                "benchmark",
                model,
                task,
                cpu=given.train.device.type == "cpu",
                log_level=logging.ERROR,
                disable_tqdm=True,
                disable_model_save=True,
                output_dir=folder,
            )
            runner.fit_all_factors(
                strategy,
                TensorDataset(given.train, given.train_labels),
                _BATCH,
                factor_args=arguments.FactorArguments(strategy=strategy),
                overwrite_output_dir=True,
            )

    return call
