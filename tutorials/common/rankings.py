"""Scores of a whole training set for several queries, from this package and from its peers.

All give ``[Q, N]``, higher is more helpful, on the same model and the same data. The networks are
``nn.Sequential`` with the classifier as their last module.
"""

from __future__ import annotations

import contextlib
import io
import logging
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import torch
from captum.influence import TracInCP, TracInCPFast
from captum.influence._core.arnoldi_influence_function import ArnoldiInfluenceFunction
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

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
    loss = nn.CrossEntropyLoss(reduction="none")
    with _as_it_was(model):
        method = TracInCP(model, train, list(checkpoints), _load, loss_fn=loss, batch_size=64)
        return method.influence(queries.tensors).detach()


def tracin_fast(
    model: nn.Sequential, checkpoints: Sequence[State], train: TensorDataset, queries: TensorDataset
) -> tuple[Tensor, Tensor]:
    """Captum's ``TracInCPFast``: the last weight alone. Also of each training example on itself."""
    loss = nn.CrossEntropyLoss(reduction="sum")
    with _as_it_was(model):
        method = TracInCPFast(
            model, model[-1], train, list(checkpoints), _load, loss_fn=loss, batch_size=64
        )
        return method.influence(queries.tensors).detach(), method.self_influence().detach()


def arnoldi(
    model: nn.Module, train: TensorDataset, queries: TensorDataset, examples: int, steps: int
) -> Tensor:
    """Captum's ``ArnoldiInfluenceFunction``, its Hessian over the first few training examples."""
    few = TensorDataset(*(tensor[:examples] for tensor in train.tensors))
    with _as_it_was(model) as state:
        method = ArnoldiInfluenceFunction(
            model,
            train,
            state,
            _load,
            loss_fn=nn.CrossEntropyLoss(reduction="none"),
            batch_size=64,
            hessian_dataset=few,
            arnoldi_dim=steps,
            projection_dim=steps // 4,
        )
        return method.influence(queries.tensors).detach()


def trak(
    models: Sequence[nn.Module], train: TensorDataset, queries: TensorDataset, dimension: int
) -> Tensor:
    """TRAK over one model or several, as ``traker`` computes it without a GPU."""
    from trak import TRAKer
    from trak.projectors import BasicProjector, ProjectionType

    size = sum(parameter.numel() for parameter in models[0].parameters())
    device, block = torch.device("cpu"), -(-dimension // 2)  # one block is lost once it was freed
    projector = BasicProjector(size, dimension, 0, ProjectionType.rademacher, device, block)
    with (
        tempfile.TemporaryDirectory() as folder,
        contextlib.redirect_stderr(io.StringIO()),
        torch.random.fork_rng(),
    ):
        method = TRAKer(
            models[0],
            "image_classification",
            len(train),
            save_dir=folder,
            device="cpu",
            projector=projector,
            proj_dim=dimension,
            use_half_precision=False,
            logging_level=logging.ERROR,
        )
        for number, model in enumerate(models):
            method.load_checkpoint(model.state_dict(), number)
            for images, labels in DataLoader(train, 250):
                method.featurize((images, labels), num_samples=len(labels))
        method.finalize_features()
        for number, model in enumerate(models):
            method.start_scoring_checkpoint("queries", model.state_dict(), number, len(queries))
            for images, labels in DataLoader(queries, 250):
                method.score((images, labels), num_samples=len(labels))
        return torch.from_numpy(method.finalize_scores("queries").copy()).T.float()


def _load(into: nn.Module, state: Any) -> float:
    """How captum's methods read a checkpoint; all have the same learning rate."""
    into.load_state_dict(state)
    return 1.0


@contextlib.contextmanager
def _as_it_was(model: nn.Module) -> Iterator[State]:
    """The model's own state, which it has again afterwards."""
    last = {name: value.clone() for name, value in model.state_dict().items()}
    try:
        yield last
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

    def pairs(self, queries: TensorDataset) -> Tensor:
        """Influence on each query, ``[Q, N]``."""
        return self._computed(queries, False)[0]

    def scores(self, queries: TensorDataset) -> tuple[Tensor, Tensor]:
        """Influence on each query ``[Q, N]``, and of each training example on itself ``[N]``."""
        pairs, itself = self._computed(queries, True)
        return pairs, itself

    def _computed(self, queries: TensorDataset, of_itself: bool) -> list[Tensor]:
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
                pairs = analyzer.load_pairwise_scores("pairs")["all_modules"].clone().float()
                if not of_itself:
                    return [pairs]
                analyzer.compute_self_scores(
                    "self", "factors", self._train, per_device_train_batch_size=128
                )
                itself = analyzer.load_self_scores("self")["all_modules"]
                return [pairs, itself.clone().float().flatten()]
            finally:
                logging.disable(logging.NOTSET)
