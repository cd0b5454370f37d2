"""INDEX SECOND QUESTION: what a question costs once there is an index, beside the exact ranking.

``python -m tests.benchmarks.index_second --data DIR --weights FILE --work FOLDER``, for the small
CNN and a tree of CIFAR-10 as ``ImageFolder`` reads it. The index stays in FOLDER. All times are
processor times of one thread in one run, opening pictures included; with ``--exact`` fewer pictures
are ranked exactly, and their time is multiplied.
"""

from __future__ import annotations

import argparse
import statistics
from pathlib import Path
from typing import Any

import torch
from torch.utils.data import Subset
from torchvision.datasets import ImageFolder
from torchvision.transforms import Compose, Normalize, ToTensor

from captum_tfa import GradCosScore, GradientIndex, InfluenceScore, ScoreInfluence
from captum_tfa.curvature import fit_curvature, load_curvature
from captum_tfa.demo import SmallCNN
from tests.benchmarks.index_recall import STATISTICS
from tests.benchmarks.index_search import cpu_seconds
from tests.benchmarks.markdown import number, table

_DIMENSION, _BEST, _QUESTIONS = 2048, 10, 5


def main() -> None:
    """Build what is not there yet, and write the table row by row."""
    parser = argparse.ArgumentParser(description=__doc__)
    for name in ("--data", "--weights", "--work"):
        parser.add_argument(name, type=Path, required=True)
    parser.add_argument("--count", type=int, default=50_000, help="training images")
    parser.add_argument("--exact", type=int, default=50_000, help="of them ranked exactly")
    options = parser.parse_args()
    torch.set_num_threads(1)
    model = SmallCNN(10)
    model.load_state_dict(torch.load(options.weights, weights_only=True))
    model.eval()
    prepare = Compose([ToTensor(), Normalize(*STATISTICS)])
    train: Any = ImageFolder(str(options.data / "train"), prepare)
    order = torch.randperm(len(train), generator=torch.Generator().manual_seed(1))
    train = Subset(train, order[: options.count].tolist())
    test: Any = ImageFolder(str(options.data / "test"), prepare)
    questions = [
        (test[place][0][None], torch.tensor([test[place][1]]))
        for place in range(0, len(test), len(test) // _QUESTIONS)
    ]
    folder = options.work / f"index{_DIMENSION}"
    building = cpu_seconds(
        lambda: GradientIndex.build(GradCosScore(model), train, folder, _DIMENSION)
    )
    print(f"building {options.count:,}, or what was missing: {number(building)} s", flush=True)
    index = GradientIndex.open(folder, train)
    file = options.work / "curvature.safetensors"
    if not file.exists():
        fit_curvature(model, train, max_examples=1000).save(file)
    head = ("score", "exact, s", "no re-ranking, ms", "faster", "200 re-ranked, ms", "faster")
    rows = []
    for score in (GradCosScore(model), InfluenceScore(model, load_curvature(file, model))):
        exactly, quick, checked = (
            ScoreInfluence(score, Subset(train, range(options.exact))),
            ScoreInfluence(score, index, rerank=0),
            ScoreInfluence(score, index),
        )
        exact = cpu_seconds(lambda: exactly.influence(questions[0], k=_BEST))  # noqa: B023
        exact *= options.count / options.exact
        times: list[list[float]] = [[], []]
        for ask in (quick, checked):
            ask.influence(questions[0], k=_BEST)  # what is kept for the next time is there then
        for question in questions:
            for found, ask in zip(times, (quick, checked), strict=True):
                found.append(cpu_seconds(lambda: ask.influence(question, k=_BEST)))  # noqa: B023
        row = [score.name, number(exact)]
        for found in times:
            least, middle, most = min(found), statistics.median(found), max(found)
            row += [
                f"{number(1000 * middle)} ({number(1000 * least)} to {number(1000 * most)})",
                number(exact / middle),
            ]
        rows.append(row)
        print(table(head, rows), flush=True)


if __name__ == "__main__":
    main()
