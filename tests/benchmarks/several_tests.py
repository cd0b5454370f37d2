"""Several test images for one training image: one call against one call each."""

from __future__ import annotations

import statistics

import torch
from captum.attr import NoiseTunnel

from captum_tfa import TrainingGradCos
from tests.benchmarks.markdown import number, spread, table
from tests.benchmarks.measuring import paired, ratios
from tests.benchmarks.models import SIDES, SMALL, Problem, build, problem

FULL = {SMALL: (8, 16, 5), "resnet18": (8, 2, 3)}  # tests, noise samples, rounds
QUICK = {SMALL: (8, 4, 2)}


def sections(sizes: dict[str, tuple[int, int, int]]) -> dict[str, str]:
    """The table."""
    rows = []
    for model, (tests, samples, rounds) in sizes.items():
        given = problem(build(model), SIDES[model], tests=tests)
        sides = {
            "together": lambda given=given, samples=samples: _maps(given, samples, together=True),
            "apart": lambda given=given, samples=samples: _maps(given, samples, together=False),
        }
        times, _ = paired(sides, rounds)
        middle = {name: number(statistics.median(found)) for name, found in times.items()}
        ratio = spread(ratios(times["apart"], times["together"]))
        shape = f"{model}, M = {tests}, {samples} noise samples"
        rows.append([shape, middle["together"], middle["apart"], ratio])
    head = ("", "one call, s", "M calls, s", "times faster (spread)")
    return {"several tests": f"### Several test images at once\n\n{table(head, rows)}"}


def _maps(given: Problem, samples: int, together: bool) -> None:
    tunnel = NoiseTunnel(TrainingGradCos(given.model))
    rows = [slice(None)] if together else [slice(row, row + 1) for row in range(len(given.test))]
    for row in rows:
        torch.manual_seed(0)
        tunnel.attribute(
            given.train,
            nt_type="smoothgrad",
            nt_samples=samples,
            stdevs=0.1,
            target=given.train_labels,
            additional_forward_args=(given.test[row], given.test_labels[row]),
        )
