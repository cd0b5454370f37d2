"""INDEX SEARCH: a question to an index of stand-in vectors, beside merely reading its files."""

from __future__ import annotations

import os
import resource
import shutil
import statistics
import tempfile
import time
from pathlib import Path

import numpy as np
import torch
from torch import nn

from captum_tfa import GradCosScore, GradientIndex
from captum_tfa.index.best import best
from captum_tfa.index.sealed import write_sealed
from captum_tfa.index.search import Scoring
from captum_tfa.index.settings import Settings
from captum_tfa.index.shards import BESIDE, ShardFiles, write_codes
from captum_tfa.scores import Score
from tests.benchmarks.markdown import number, spread, table
from tests.benchmarks.measuring import Call, ratios, seconds

# Vectors of the sizes that are measured, and rounds.
FULL = ((100_000, 200_000, 400_000, 800_000, 1_281_167), 3)
QUICK = ((25_000, 50_000, 100_000), 3)
NAME = "index search"
_DIMENSION, _SHARD, _BEST, _MANY = 2048, 8192, 200, 64


def sections(quick: bool, place: Path | None = None) -> dict[str, str]:
    """The table; files are written to a folder of their own and deleted."""
    sizes, rounds = QUICK if quick else FULL
    folder = Path(tempfile.mkdtemp(dir=place))
    try:
        rows = [row for size in sizes for row in _rows(folder / str(size), size, rounds)]
    finally:
        shutil.rmtree(folder)
    head = (
        "vectors",
        "MB",
        "files",
        "reading, s",
        "1 question, s",
        "over reading (spread)",
        f"{_MANY} questions, s",
        "over reading (spread)",
        "peak MB",
    )
    text = (
        f"### Search: stand-in vectors of {_DIMENSION:,} float16\n\n"
        f"The best {_BEST} by grad-cos. *Reading* is reading the projections into a small buffer, "
        "as `dd` does. *Warm*: in the page cache. By one thread in processor time, which a busy "
        "machine stretches less; by two in time by the clock.\n\n"
    )
    return {NAME: text + table(head, rows)}


def _rows(folder: Path, count: int, rounds: int) -> list[list[str]]:
    score = GradCosScore(nn.Linear(8, 4).eval())
    index = stand_in(folder, score, count)
    files = sorted(folder.glob("*.projections"))
    all_files = [*files, *folder.glob("*.codes"), *folder.glob("*.norms")]
    calls: tuple[Call, ...] = (
        lambda: _read(files),
        lambda: ask(index, score, 1),
        lambda: ask(index, score, _MANY),
    )
    rows = []
    for name, threads, timed, before in (
        ("warm, 1 thread", 1, cpu_seconds, None),
        ("warm, 2 threads", 2, seconds, None),
        ("cold, 2 threads", 2, seconds, lambda: _drop(all_files)),
    ):
        torch.set_num_threads(threads)
        times: tuple[list[float], ...] = ([], [], [])
        if before is None:
            for call in calls:
                call()
        for _ in range(rounds):
            for call, found in zip(calls, times, strict=True):
                if before is not None:
                    before()
                found.append(timed(call))
        read = times[0]
        rows.append(
            [
                f"{count:,}",
                number(sum(file.stat().st_size for file in files) / 1e6),
                name,
                number(statistics.median(read)),
            ]
        )
        for found in times[1:]:
            rows[-1] += [number(statistics.median(found)), spread(ratios(found, read))]
        rows[-1].append(number(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024))
    shutil.rmtree(folder)
    return rows


def stand_in(folder: Path, score: Score, count: int) -> GradientIndex:
    """An index of so many random vectors."""
    few = torch.utils.data.TensorDataset(torch.randn(4, 8), torch.arange(4))
    built = GradientIndex.build(score, few, folder, _DIMENSION, shard_size=_SHARD)
    changed = {**vars(built.settings), "count": count}
    settings = Settings(**changed)
    settings.write(folder)
    draw = np.random.default_rng(0)
    beside = np.ones(_SHARD, BESIDE)
    for shard in range(settings.shards):
        files = ShardFiles(folder, settings, shard)
        rows = len(files.rows)
        vectors = draw.standard_normal((rows, _DIMENSION), np.float32).astype("<f2")
        vectors.tofile(files.projections)
        beside["norm"] = draw.uniform(0.5, 2, _SHARD)
        beside[:rows].tofile(files.norms)
        write_codes(files)
        write_sealed(files.seal, {"start": files.rows.start, "count": rows, "codes": ""})
    os.sync()
    return GradientIndex(folder, settings, None)


def ask(index: GradientIndex, score: Score, questions: int) -> None:
    """So many questions to an index."""
    images, labels = torch.randn(questions, 8), torch.zeros(questions, dtype=torch.long)
    tests = score.test_gradients(images, labels)
    best(index, index.project(tests), Scoring(score, tests), _BEST, True)


def cpu_seconds(call: Call) -> float:
    """Processor time of one call in this process."""
    start = time.process_time()
    call()
    return time.process_time() - start


def _read(files: list[Path]) -> None:
    block = bytearray(2**20)
    for file in files:
        with file.open("rb", buffering=0) as opened:
            while opened.readinto(block):
                pass


def _drop(files: list[Path]) -> None:
    for file in files:
        with file.open("rb") as opened:
            os.posix_fadvise(opened.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
