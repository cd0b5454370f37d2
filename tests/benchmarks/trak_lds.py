"""TRAK LDS: does TRAK from an index predict retraining as well as TRAK by its authors' package?

``python -m tests.benchmarks.trak_lds``, on scikit-learn's digits: the same perceptrons, the same
random halves, each package with a projection of its own, and with several draws of it.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

import torch
from sklearn.datasets import load_digits
from torch import Tensor, nn
from torch.utils.data import Subset, TensorDataset
from trak import TRAKer
from trak.projectors import BasicProjector, ProjectionType

from captum_tfa import GradDotScore, GradientIndex, TrakInfluence
from captum_tfa.metrics import MeasuredOutput, linear_datamodelling_score, retrain_subsets
from captum_tfa.metrics.paired import paired_difference
from captum_tfa.metrics.subsets import random_subsets
from tests.benchmarks.markdown import table

# Less than a dimension: a single block is let go before traker needs it again.
_BLOCK = 128
_TRAIN, _QUERIES, _DIMENSIONS, _DRAWS, _MODELS = 1000, 200, (256, 512), (0, 1, 2), 3


def main() -> None:
    """Train what is not in ``--work`` yet, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--subsets", type=int, default=100)
    options = parser.parse_args()
    torch.set_num_threads(1)
    train, queries = _digits()
    halves = random_subsets(_TRAIN, options.subsets)
    margin = MeasuredOutput(*queries.tensors)
    retrained = retrain_subsets(
        _trained, train, halves, margin, options.work, seeds=(0, 1, 2), settings={}
    )
    models = []
    for seed in range(_MODELS):
        torch.manual_seed(1000 + seed)
        models.append(_trained(train, 1000 + seed))
    rows = []
    for dimension in _DIMENSIONS:
        for count in (1, _MODELS):
            found: dict[str, list[Tensor]] = {"index": [], "traker": []}
            for draw in _DRAWS:
                for name, compute in (("index", _ours), ("traker", _theirs)):
                    scores = compute(models[:count], train, queries, dimension, draw)
                    lds = linear_datamodelling_score(scores.double(), retrained)
                    found[name].append(lds.per_query)
                    rows.append([f"{dimension}", f"{count}", name, f"{draw}", str(lds)])
            means = [torch.stack(each).mean(0) for each in found.values()]
            gap = str(paired_difference(*means, lower_is_better=False))
            rows.append([f"{dimension}", f"{count}", "index − traker", "mean of all", gap])
            print(table(("dimensions", "models", "by", "draw", "LDS"), rows), flush=True)


def _digits() -> tuple[TensorDataset, TensorDataset]:
    images, labels = load_digits(return_X_y=True)
    order = torch.randperm(len(labels), generator=torch.Generator().manual_seed(0))
    x, y = (torch.tensor(images).float() / 8 - 1)[order], torch.tensor(labels)[order]
    parts = slice(0, _TRAIN), slice(_TRAIN, _TRAIN + _QUERIES)
    train, queries = (TensorDataset(x[part], y[part]) for part in parts)
    return train, queries


def _trained(dataset: TensorDataset | Subset[tuple[Tensor, ...]], seed: int) -> nn.Module:
    whole = dataset.dataset if isinstance(dataset, Subset) else dataset
    x, y = whole.tensors  # type: ignore[attr-defined]
    if isinstance(dataset, Subset):
        x, y = x[torch.tensor(dataset.indices)], y[torch.tensor(dataset.indices)]
    model = nn.Sequential(nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 10))
    optimizer = torch.optim.SGD(model.parameters(), 0.05, momentum=0.9, weight_decay=1e-3)
    for _ in range(30):
        for some in torch.randperm(len(y)).split(64):
            optimizer.zero_grad()
            nn.functional.cross_entropy(model(x[some]), y[some]).backward()
            optimizer.step()
    optimizer.zero_grad()
    return model.eval()


def _ours(
    models: list[nn.Module], train: TensorDataset, queries: TensorDataset, dimension: int, draw: int
) -> Tensor:
    scores = [GradDotScore(model, loss_fn="margin") for model in models]
    with tempfile.TemporaryDirectory() as folder:
        indices = [
            GradientIndex.build(
                score, train, Path(folder) / f"{number}", dimension, seed=100 * draw + number
            )
            for number, score in enumerate(scores)
        ]
        found = TrakInfluence(scores, indices, damping=0).influence(queries.tensors)
    assert isinstance(found, Tensor)
    return found


def _theirs(
    models: list[nn.Module], train: TensorDataset, queries: TensorDataset, dimension: int, draw: int
) -> Tensor:
    size = sum(parameter.numel() for parameter in models[0].parameters())
    device = torch.device("cpu")
    kind = ProjectionType.rademacher
    with tempfile.TemporaryDirectory() as folder:
        traker = TRAKer(
            models[0],
            "image_classification",
            _TRAIN,
            save_dir=folder,
            device="cpu",
            projector=BasicProjector(size, dimension, draw, kind, device, block_size=_BLOCK),
            proj_dim=dimension,
            use_half_precision=False,
            logging_level=50,
        )
        for number, model in enumerate(models):
            traker.load_checkpoint(model.state_dict(), number)
            traker.featurize(train.tensors, num_samples=_TRAIN)
        traker.finalize_features()
        for number, model in enumerate(models):
            traker.start_scoring_checkpoint("queries", model.state_dict(), number, _QUERIES)
            traker.score(queries.tensors, num_samples=_QUERIES)
        return torch.from_numpy(traker.finalize_scores("queries").copy()).T


if __name__ == "__main__":
    main()
