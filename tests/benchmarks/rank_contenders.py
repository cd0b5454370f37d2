"""The ways to the score of every training example for several test examples."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
import torch.nn.functional as F
from captum.influence import TracInCP
from torch import Tensor, nn
from torch.func import functional_call, grad, vmap
from torch.utils.data import DataLoader, TensorDataset

from captum_tfa import GradCosScore, ScoreInfluence
from tests.benchmarks.models import Problem
from tests.benchmarks.naive import gradients, inner

OURS, NAIVE, VMAP = "ours", "naive loop", "vmap"
COS, DOT = "grad-cos", "grad-dot"
DELTAS, STEP = "forward pass and deltas alone", "one gradient a batch"


@dataclass(frozen=True)
class Ranking:
    """A function that gives scores ``[Q, N]``, and which score they are."""

    call: Callable[[], Tensor]
    score: str = COS


def own_rankings(given: Problem, batch: int) -> dict[str, Ranking]:
    """Ours, and what takes torch and captum alone."""
    return {
        OURS: Ranking(ours(given, batch)),
        NAIVE: Ranking(naive(given)),
        VMAP: Ranking(vmapped(given, batch)),
        "captum TracInCP, sample-wise": Ranking(_captum(given, batch, True), DOT),
        "captum TracInCP": Ranking(_captum(given, batch, False), DOT),
    }


def ours(given: Problem, batch: int) -> Callable[[], Tensor]:
    """The package's own ranking."""
    influence = ScoreInfluence(GradCosScore(given.model), _data(given), batch_size=batch)

    def call() -> Tensor:
        scores = influence.influence((given.test, given.test_labels))
        assert isinstance(scores, Tensor)
        return scores

    return call


def naive(given: Problem, score: str = COS) -> Callable[[], Tensor]:
    """One backward pass an example; test gradients are computed once."""

    def call() -> Tensor:
        tests = _each(given.model, given.test, given.test_labels)
        squares = torch.stack([inner(test, test) for test in tests])
        columns = []
        for image, label in DataLoader(_data(given)):
            own = gradients(given.model, image, label, False)
            products = torch.stack([inner(own, test) for test in tests])
            cosine = products / (squares * inner(own, own)).sqrt()
            columns.append(products if score == DOT else cosine)
        return torch.stack(columns, 1).cpu()

    return call


def _each(model: nn.Module, images: Tensor, labels: Tensor) -> list[tuple[Tensor, ...]]:
    rows = [slice(row, row + 1) for row in range(len(images))]
    return [gradients(model, images[row], labels[row], False) for row in rows]


def vmapped(given: Problem, batch: int) -> Callable[[], Tensor]:
    """Per-example gradients of a batch by ``vmap(grad(...))``, then one product a parameter."""
    parameters = {name: value.detach() for name, value in given.model.named_parameters()}

    def loss(values: dict[str, Tensor], image: Tensor, label: Tensor) -> Tensor:
        return F.cross_entropy(functional_call(given.model, values, (image[None],)), label[None])

    per_example = vmap(grad(loss), in_dims=(None, 0, 0))

    def call() -> Tensor:
        tests = per_example(parameters, given.test, given.test_labels)
        test_squares = _squares(tests)
        parts = []
        for images, labels in DataLoader(_data(given), batch):
            own = per_example(parameters, images, labels)
            pairs = [tests[name].flatten(1) @ own[name].flatten(1).T for name in own]
            parts.append(sum(pairs) / (test_squares[:, None] * _squares(own)).sqrt())
        return torch.cat(parts, 1).cpu()

    return call


def _squares(found: dict[str, Tensor]) -> Tensor:
    return torch.stack([(part * part).flatten(1).sum(1) for part in found.values()]).sum(0)


def floors(given: Problem, batch: int) -> dict[str, Callable[[], object]]:
    """Parts of what every exact ranking does, without a score of a single example."""

    def deltas() -> None:
        given.model.requires_grad_(False)
        try:
            for images, labels in DataLoader(_data(given), batch):
                loss = F.cross_entropy(given.model(images.requires_grad_()), labels)
                torch.autograd.grad(loss, images)
        finally:
            given.model.requires_grad_(True)

    def step() -> None:
        for images, labels in DataLoader(_data(given), batch):
            gradients(given.model, images, labels, False)

    return {DELTAS: deltas, STEP: step}


def _data(given: Problem) -> TensorDataset:
    return TensorDataset(given.train, given.train_labels)


def _captum(given: Problem, batch: int, sample_wise: bool) -> Callable[[], Tensor]:
    folder = tempfile.TemporaryDirectory()
    checkpoint = str(Path(folder.name) / "model.pt")
    torch.save(given.model.state_dict(), checkpoint)

    def load(model: nn.Module, path: str) -> float:
        model.load_state_dict(torch.load(path))
        return 1.0

    method = TracInCP(
        given.model,
        _data(given),
        [checkpoint],
        load,
        loss_fn=nn.CrossEntropyLoss(reduction="sum" if sample_wise else "none"),
        batch_size=batch,
        sample_wise_grads_per_batch=sample_wise,
    )

    def call() -> Tensor:
        assert Path(folder.name).exists()  # and so the checkpoint lives as long as the function
        scores = method.influence((given.test, given.test_labels))
        assert isinstance(scores, Tensor)
        return scores.detach().cpu()

    return call
