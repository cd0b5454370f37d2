"""What a map costs that is made in many short calls, now and in an older checkout.

Each contender runs in a process of its own, so that two versions of the package can take turns.
Processor time is measured, not time: short calls are where a shared machine disturbs most.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from tests.benchmarks.markdown import number, spread, table
from tests.benchmarks.measuring import ratios

SAMPLES, PART = 48, 8
ROUNDS, QUICK_ROUNDS = 15, 3
_ROOT = Path(__file__).parents[2]
_WORKER = Path(__file__).with_name("short_calls_worker.py")


def sections(rounds: int, before: Path | None) -> dict[str, str]:
    """The table.

    Args:
        rounds: how often each way is timed.
        before: another checkout to compare with, if there is one.
    """
    checkouts = {"": _ROOT} if before is None else {"": _ROOT, ", before": before}
    ways = {
        "naive": ("", "naive", 1),
        **{f"one call{when}": (when, "ours", SAMPLES) for when in checkouts},
        **{f"calls of {PART}{when}": (when, "ours", PART) for when in checkouts},
        **{f"calls of 1{when}": (when, "ours", 1) for when in checkouts},
    }
    times: dict[str, list[float]] = {way: [] for way in ways}
    with ExitStack() as stack:
        workers = {
            when: stack.enter_context(_worker(path.resolve())) for when, path in checkouts.items()
        }
        for turn in range(-1, rounds):
            names = list(ways)
            for name in names[turn % len(names) :] + names[: turn % len(names)]:
                when, contender, part = ways[name]
                found = _asked(workers[when], contender, part)
                if turn >= 0:
                    times[name].append(found)
    now = times[f"calls of {PART}"]
    rows = [
        [
            name,
            number(1e3 * statistics.median(found) / SAMPLES),
            spread(ratios(found, times["one call"])),
            spread(ratios(found, now)),
        ]
        for name, found in times.items()
    ]
    head = ("", "ms a sample", "times one call (spread)", f"times calls of {PART} (spread)")
    title = f"### Short calls: small CNN, 32², {SAMPLES} noise samples"
    return {"short calls": f"{title}\n\n{table(head, rows)}"}


@contextmanager
def _worker(checkout: Path) -> Iterator[subprocess.Popen[str]]:
    """A process that imports the package of a checkout and times what it is asked for."""
    process = subprocess.Popen(
        [sys.executable, "-c", _WORKER.read_text()],
        cwd=checkout,
        env={**os.environ, "PYTHONPATH": str(checkout)},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        yield process
    finally:
        process.communicate("\n")


def _asked(process: subprocess.Popen[str], contender: str, part: int) -> float:
    assert process.stdin is not None
    assert process.stdout is not None
    print(contender, SAMPLES, part, file=process.stdin, flush=True)
    return float(process.stdout.readline())
