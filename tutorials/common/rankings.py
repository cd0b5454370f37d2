"""Scores of a whole training set for several queries, from this package and from its peers.

All give ``[Q, N]``, higher is more helpful, on the same model and the same data. The networks are
``nn.Sequential`` with the classifier as their last module.
"""

from __future__ import annotations

import contextlib
import io
import logging
import tempfile
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from captum.influence import TracInCP
from torch import Tensor, nn
from torch.utils.data import TensorDataset

from captum_tfa import GradCosScore, GradDotScore, ScoreInfluence

State = Mapping[str, Tensor]


def rankings(
    model: nn.Sequential, train: TensorDataset, queries: TensorDataset, seed: int = 0
) -> dict[str, Tensor]:
    """Grad-dot, grad-cos, similarity of the last features, and chance."""
    asked = queries.tensors
    found = {
        name: ScoreInfluence(score(model), train).influence(asked)
        for name, score in (("grad-dot", GradDotScore), ("grad-cos", GradCosScore))
    }
    found["feature similarity"] = feature_similarity(model, train.tensors[0], asked[0])
    generator = torch.Generator().manual_seed(seed)
    found["random"] = torch.randn(len(queries), len(train), generator=generator)
    return found


@torch.no_grad()
def feature_similarity(model: nn.Sequential, train: Tensor, queries: Tensor) -> Tensor:
    """Cosine of what the last linear layer is given: no gradient and no label."""
    sides = [
        nn.functional.normalize(torch.cat([model[:-1](part).flatten(1) for part in x.split(256)]))
        for x in (queries, train)
    ]
    return sides[0] @ sides[1].T


def tracin(
    model: nn.Module, checkpoints: Sequence[State], train: TensorDataset, queries: TensorDataset
) -> Tensor:
    """Captum's ``TracInCP`` over checkpoints, with equal learning rates."""

    def load(into: nn.Module, state: Any) -> float:
        into.load_state_dict(state)
        return 1.0

    last = {name: value.clone() for name, value in model.state_dict().items()}
    loss = nn.CrossEntropyLoss(reduction="none")
    try:
        method = TracInCP(model, train, list(checkpoints), load, loss_fn=loss, batch_size=64)
        return method.influence(queries.tensors).detach()
    finally:
        model.load_state_dict(last)


class EKFAC:
    """EK-FAC influence as ``kronfluence`` computes it, on linear layers and convolutions.

    Args:
        model: The trained network; a copy is worked on.
        train: What it was trained on.
    """

    def __init__(self, model: nn.Module, train: TensorDataset) -> None:
        from kronfluence.task import Task

        class Classification(Task):
            def compute_train_loss(self, batch: Any, model: nn.Module, sample: bool = False) -> Any:
                images, labels = batch
                logits = model(images).float()
                if sample:
                    with torch.no_grad():
                        labels = torch.multinomial(logits.softmax(1), 1)[:, 0]
                return nn.functional.cross_entropy(logits, labels, reduction="sum")

            def compute_measurement(self, batch: Any, model: nn.Module) -> Any:
                return self.compute_train_loss(batch, model)

        self._model, self._train, self._task = model, train, Classification()

    def scores(self, queries: TensorDataset) -> tuple[Tensor, Tensor]:
        """Influence on each query ``[Q, N]``, and of each training example on itself ``[N]``."""
        import copy

        from kronfluence.analyzer import Analyzer, prepare_model

        with (
            tempfile.TemporaryDirectory() as folder,
            contextlib.redirect_stdout(io.StringIO()),
            torch.random.fork_rng(),
        ):
            torch.manual_seed(0)  # the Fisher's labels are drawn
            logging.disable(logging.WARNING)
            try:
                prepared = prepare_model(copy.deepcopy(self._model), self._task)
                analyzer = Analyzer(
                    "ekfac",
                    prepared,
                    self._task,
                    cpu=True,
                    output_dir=folder,
                    disable_tqdm=True,
                    disable_model_save=True,
                )
                analyzer.fit_all_factors("factors", self._train, per_device_batch_size=128)
                analyzer.compute_pairwise_scores(
                    "pairs",
                    "factors",
                    queries,
                    self._train,
                    per_device_query_batch_size=len(queries),
                    per_device_train_batch_size=128,
                )
                analyzer.compute_self_scores(
                    "self", "factors", self._train, per_device_train_batch_size=128
                )
                pairs = analyzer.load_pairwise_scores("pairs")["all_modules"]
                itself = analyzer.load_self_scores("self")["all_modules"]
                return pairs.clone().float(), itself.clone().float().flatten()
            finally:
                logging.disable(logging.NOTSET)
