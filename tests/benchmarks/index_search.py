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
        rows = [_row(folder / str(size), size, rounds) for size in sizes]
    finally:
        shutil.rmtree(folder)
    head = (
        "vectors",
        "MB",
        "reading, s",
        "1 question, s",
        "over reading (spread)",
        f"{_MANY} questions, s",
        "over reading (spread)",
        "cold: reading, s",
        "cold: 1 question, s",
        "over reading (spread)",
        f"cold: {_MANY} questions, s",
        "over reading (spread)",
        "peak MB",
    )
    text = (
        f"### Search: stand-in vectors of {_DIMENSION:,} float16\n\n"
        f"The best {_BEST} by grad-cos. *Reading* is reading the files into one small buffer, as "
        "`dd` does. Warm times are processor times of one thread, which a busy machine stretches "
        "less; cold ones, with the files dropped from the page cache first, are by the clock.\n\n"
    )
    return {NAME: text + table(head, rows)}


def _row(folder: Path, count: int, rounds: int) -> list[str]:
    model = nn.Linear(8, 4).eval()
    score = GradCosScore(model)
    index = stand_in(folder, score, count)
    files = sorted(folder.glob("*.projections"))
    one, many = (
        lambda questions=questions: ask(index, score, questions) for questions in (1, _MANY)
    )
    cold_read, cold_one, cold_many = [], [], []
    for _ in range(rounds):
        _drop(files)
        cold_read.append(seconds(lambda: _read(files)))
        _drop(files)
        cold_one.append(seconds(one))
        _drop(files)
        cold_many.append(seconds(many))
    read, single, several = [], [], []
    one()
    for _ in range(rounds):
        read.append(cpu_seconds(lambda: _read(files)))
        single.append(cpu_seconds(one))
        several.append(cpu_seconds(many))
    megabytes = sum(file.stat().st_size for file in files) / 1e6
    shutil.rmtree(folder)
    return [
        f"{count:,}",
        number(megabytes),
        number(statistics.median(read)),
        number(statistics.median(single)),
        spread(ratios(single, read)),
        number(statistics.median(several)),
        spread(ratios(several, read)),
        number(statistics.median(cold_read)),
        number(statistics.median(cold_one)),
        spread(ratios(cold_one, cold_read)),
        number(statistics.median(cold_many)),
        spread(ratios(cold_many, cold_read)),
        number(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024),
    ]


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
