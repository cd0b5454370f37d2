"""Times maps by SmoothGrad in parts of a given size: a line in, the seconds out."""

from __future__ import annotations

import sys
import time
import warnings
from typing import Any

import torch
from captum.attr import NoiseTunnel, Saliency

from captum_tfa import TrainingGradCos
from tests.benchmarks.models import SIDES, SMALL, build, problem
from tests.benchmarks.naive import NaiveCos


def main() -> None:
    """Answer until an empty line comes."""
    warnings.filterwarnings("ignore")  # captum tells of each flag it sets
    torch.set_num_threads(1)
    given = problem(build(SMALL), SIDES[SMALL])
    test = given.test, given.test_labels
    ways: dict[str, tuple[Any, dict[str, Any]]] = {
        "ours": (
            NoiseTunnel(TrainingGradCos(given.model)),
            {"target": given.train_labels, "additional_forward_args": test},
        ),
        "naive": (
            NoiseTunnel(Saliency(NaiveCos(given.model, cached=False))),
            {"abs": False, "additional_forward_args": (*test, given.train_labels)},
        ),
    }
    for line in sys.stdin:
        if not line.strip():
            return
        contender, samples, part = line.split()
        tunnel, arguments = ways[contender]
        start = time.process_time()
        tunnel.attribute(
            given.train,
            nt_type="smoothgrad",
            nt_samples=int(samples),
            nt_samples_batch_size=int(part),
            stdevs=0.1,
            **arguments,
        )
        print(time.process_time() - start, flush=True)


if __name__ == "__main__":
    main()
