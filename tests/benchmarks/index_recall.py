"""INDEX RECALL: how many of the exact ranking's best ten are among an index's best ``r``.

``python -m tests.benchmarks.index_recall --data DIR --weights FILE --work FOLDER``, for the small
CNN and a tree of CIFAR-10 as ``ImageFolder`` reads it. What was computed stays in FOLDER, and a run
that was stopped goes on. One index of 4,096 dimensions serves for all smaller powers of 2: with
``D`` halved, bucket ``b`` becomes ``b`` modulo ``D``, so a projection is folded.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import matplotlib
import torch
from torch import Tensor, nn
from torch.utils.data import Dataset, Subset
from torchvision.datasets import ImageFolder
from torchvision.transforms import Compose, Normalize, ToTensor

from captum_tfa import GradCosScore, GradDotScore, GradientIndex, InfluenceScore
from captum_tfa.curvature import Curvature, fit_curvature, load_curvature
from captum_tfa.demo import SmallCNN
from captum_tfa.index.second_moment import Preconditioner
from captum_tfa.influence.candidates import DAMPING, in_turn
from captum_tfa.scores import Score
from captum_tfa.whole_file import whole_file
from tests.benchmarks.markdown import table

matplotlib.use("Agg")
_WIDEST, _BEST = 4096, 10
_DIMENSIONS, _RERANKED = (256, 512, 1024, 2048, 4096), (10, 25, 50, 100, 200, 400, 800)
#: Recall for each number of candidates, by dimension, by the name of what found them.
Curves = dict[str, dict[int, list[float]]]
STATISTICS = [0.4914, 0.4822, 0.4465], [0.247, 0.243, 0.262]


def main() -> None:
    """Compute what is not there yet, and write the table and the figure."""
    parser = argparse.ArgumentParser(description=__doc__)
    for name in ("--data", "--weights", "--work"):
        parser.add_argument(name, type=Path, required=True)
    parser.add_argument("--count", type=int, default=10_000, help="training images")
    parser.add_argument("--questions", type=int, default=16)
    parser.add_argument("--figure", type=Path, default=Path("docs/images/index_recall.png"))
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
    spaced = range(0, len(test), len(test) // options.questions)
    images, labels = zip(*(test[place] for place in spaced), strict=True)
    question = torch.stack(images), torch.tensor(labels)
    index, curvature = index_and_curvature(model, train, options.work)
    found = curves("grad-cos", GradCosScore(model), index, question, options.work)
    influence = InfluenceScore(model, curvature)
    found |= curves("influence (cos)", influence, index, question, options.work)
    draw(found, options.figure)


def index_and_curvature(
    model: nn.Module, train: Dataset[Any], work: Path
) -> tuple[GradientIndex, Curvature]:
    """The widest index and EK-FAC of 1,000 images, made where they are not there yet."""
    index = GradientIndex.build(
        GradCosScore(model), train, work / "index", _WIDEST, show_progress=True
    )
    file = work / "curvature.safetensors"
    if not file.exists():
        fit_curvature(model, train, max_examples=1000).save(file)
    return index, load_curvature(file, model)


def curves(
    name: str,
    score: Score,
    index: GradientIndex,
    question: Any,
    work: Path,
    first: int | None = None,
) -> Curves:
    """What `_curves` finds, with the score's name, and a table of each.

    Args:
        name: the score's; its exact scores are kept under it.
        score: of the index's model.
        index: with its data set at hand.
        question: test images and their labels.
        work: where exact scores are kept.
        first: so many of the training images are ranked; ``None``: all.
    """
    found = _curves(score, index, question, work / f"exact {name}.pt", first or len(index))
    for kind, curve in found.items():
        rows = [
            [f"{dimension:,}", *(f"{value:.3f}" for value in values)]
            for dimension, values in curve.items()
        ]
        print(f"\n{name}{kind}, {first or len(index):,} images\n", flush=True)
        print(table(("dimensions", *map(str, _reranked(first or len(index)))), rows), flush=True)
    return {name + kind: curve for kind, curve in found.items()}


def _reranked(count: int) -> list[int]:
    return [some for some in _RERANKED if some < count]


def _curves(score: Score, index: GradientIndex, question: Any, file: Path, first: int) -> Curves:
    """Mean recall for each ``r`` by dimension, of one estimate or of two in turn."""
    assert index.data is not None
    tests = score.test_gradients(*question)
    exact = _exact(score, index.data.dataset, tests, file)[:, :first]
    top = exact.topk(_BEST, dim=1)
    best, errors = top.indices, []
    wide, norms = index.project(tests), index.norms[:first]
    own = index.project(GradDotScore(score.model).test_gradients(*question))
    lengths = index.settings.scale * tests.squares.sqrt()[:, None]
    curves: Curves = {"": {}}
    if isinstance(score, InfluenceScore):
        curves[", half from the projected space"] = {}
    for dimension in _DIMENSIONS:
        stored = torch.cat(
            [
                _folded(part, dimension)
                for rows in index.chunks()
                for part in rows.directions(wide.device)
            ]
        )[:first]
        estimates = _products(stored, _folded(wide, dimension))
        errors.append(f"{_middle((estimates / lengths - exact).std(1))} ({dimension:,})")
        ranked = _likeliest(estimates)
        lists = [ranked]
        if len(curves) > 1:
            projected = stored * norms[:, None]
            moment = (projected.T @ projected).double() / len(stored)
            solved = Preconditioner(moment, DAMPING).solve(_folded(own, dimension)).float()
            lists.append(in_turn(_likeliest(_products(stored, solved)), ranked))
        for curve, found in zip(curves.values(), lists, strict=True):
            curve[dimension] = [
                float((found[:, :count, None] == best[:, None]).any(1).float().mean())
                for count in _reranked(first)
            ]
    spread = (
        f"the tenth best {_middle(top.values[:, -1])}, standard deviation {_middle(exact.std(1))}"
    )
    print(f"\nExact scores: {spread}; errors of estimates: {', '.join(errors)}")
    return curves


def _products(stored: Tensor, vectors: Tensor) -> Tensor:
    return torch.cat([part @ vectors.T for part in stored.split(4096)]).T


def _likeliest(estimates: Tensor) -> Tensor:
    return estimates.topk(min(max(_RERANKED), estimates.shape[1]), dim=1).indices


def _middle(of_each_question: Tensor) -> str:
    return f"{float(of_each_question.median()):.4f}"


def _folded(vectors: Tensor, dimension: int) -> Tensor:
    return vectors.unflatten(1, (-1, dimension)).sum(1)


def _exact(score: Score, train: Any, tests: Any, file: Path) -> Tensor:
    """Exact scores ``[Q, N]``, kept as they come."""
    done = (
        torch.load(file, weights_only=True) if file.exists() else torch.empty(len(tests.squares), 0)
    )
    while done.shape[1] < len(train):
        some = [train[place] for place in range(done.shape[1], min(len(train), done.shape[1] + 64))]
        images, labels = zip(*some, strict=True)
        found = score.against(torch.stack(images), torch.tensor(labels), tests).T
        done = torch.cat([done, found], 1)
        with whole_file(file) as beside:
            torch.save(done, beside)
    return done


def draw(found: Curves, file: Path) -> None:
    """A figure with a curve for each dimension, a panel for each score and its candidates."""
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(1, len(found), figsize=(4 * len(found), 3.2), sharey=True)
    for axis, (name, curve) in zip(axes, found.items(), strict=True):
        for dimension, values in curve.items():
            axis.plot(
                _RERANKED[: len(values)], values, marker="o", markersize=3, label=f"{dimension:,}"
            )
        axis.set_title(name.replace(", half", ",\nhalf"), fontsize=9)
        axis.set(xlabel="re-ranked", xscale="log", ylim=(0, 1.03))
        axis.axhline(0.95, color="grey", linewidth=0.6)
    axes[0].set_ylabel("recall of the exact best 10")
    axes[-1].legend(title="dimensions", fontsize=7)
    figure.tight_layout()
    figure.savefig(file, dpi=110)


if __name__ == "__main__":
    main()
