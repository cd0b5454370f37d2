"""Measure everything and write it down: ``python -m tests.benchmarks``."""

from __future__ import annotations

import argparse
import shlex
import sys
import warnings
from collections.abc import Iterator
from pathlib import Path

import torch

from tests.benchmarks import (
    cuda,
    curvature_table,
    growth,
    index_build,
    index_growth,
    index_search,
    map_table,
    memory_table,
    rank_table,
    several_tests,
    short_calls,
)
from tests.benchmarks.markdown import machine, write

PARTS = ("map", "memory", "rank", "tests", "short", "curvature", "growth", "index", "cuda")


def main() -> None:
    """Run the parts that were asked for; each is written as soon as it is there."""
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="fewer models, sizes and rounds")
    parser.add_argument("--only", default=",".join(PARTS), help=f"some of {','.join(PARTS)}")
    parser.add_argument("--threads", type=int, default=2, help="for torch; 1 on a busy machine")
    parser.add_argument("--models", help="some of the models of map and rank, by name")
    parser.add_argument("--before", type=Path, help="an older checkout to compare short calls with")
    parser.add_argument("--out", type=Path, default=Path("docs/benchmarks.md"))
    options = parser.parse_args()
    parts = options.only.split(",")
    unknown = set(parts).difference(PARTS)
    if unknown:
        parser.error(f"--only {','.join(unknown)}: the parts are {','.join(PARTS)}.")
    torch.set_num_threads(options.threads)
    warnings.filterwarnings("ignore")  # captum tells of each flag it sets
    command = shlex.join(["python", "-m", "tests.benchmarks", *sys.argv[1:]])
    for found in measured(parts, options):
        for content in found.values():
            print(content, end="\n\n", flush=True)
        note = machine(command)
        write(options.out, {name: f"{text}\n\n{note}" for name, text in found.items()})


def measured(parts: list[str], options: argparse.Namespace) -> Iterator[dict[str, str]]:
    """Sections of the page, one after the other."""
    quick: bool = options.quick
    chosen = None if options.models is None else options.models.split(",")
    if "map" in parts:
        effort = map_table.QUICK if quick else map_table.FULL
        for model in effort.samples:
            if chosen is None or model in chosen:
                yield map_table.section(model, effort.samples[model], effort.rounds[model])
    if "memory" in parts:
        yield memory_table.sections(memory_table.QUICK if quick else memory_table.FULL)
    if "rank" in parts:
        for model, size in (rank_table.QUICK if quick else rank_table.FULL).items():
            if chosen is None or model in chosen:
                yield rank_table.section(model, *size)
        if chosen is None or rank_table.SMALL_NETS in chosen:
            yield rank_table.small(*(rank_table.QUICK_SMALL if quick else rank_table.FULL_SMALL))
    if "tests" in parts:
        yield several_tests.sections(several_tests.QUICK if quick else several_tests.FULL)
    if "short" in parts:
        rounds = short_calls.QUICK_ROUNDS if quick else short_calls.ROUNDS
        yield short_calls.sections(rounds, options.before)
    if "curvature" in parts:
        of_models = curvature_table.QUICK if quick else curvature_table.FULL
        for model, efforts in of_models.items():
            if chosen is None or model in chosen:
                yield curvature_table.section(model, *efforts)
    if "growth" in parts:
        yield growth.sections(options.out.parent / "images" / "benchmark_growth.png", quick)
    if "index" in parts:
        for model, effort in (index_build.QUICK if quick else index_build.FULL).items():
            if chosen is None or model in chosen:
                yield index_build.section(model, *effort)
        if chosen is None or index_search.NAME in chosen:
            yield index_search.sections(quick)
        if chosen is None or index_growth.NAME in chosen:
            place = options.out.parent / "images" / "index_growth.png"
            yield index_growth.sections(place, quick)
    if "cuda" in parts:
        yield cuda.sections(quick)


if __name__ == "__main__":
    main()
