"""Other packages' exact rankings, where they are installed: ``pip install dattri kronfluence``.

pyDVL is not among them: each of its influences solves a Hessian, and none of them is a plain inner
product of gradients.
"""

from __future__ import annotations

import copy
import importlib
import logging
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.func import functional_call
from torch.utils.data import DataLoader, TensorDataset

from tests.benchmarks.models import Problem
from tests.benchmarks.rank_contenders import COS, DOT, Ranking


def peer_rankings(given: Problem, batch: int) -> dict[str, Ranking]:
    """Rankings by other packages; one that is missing raises when it is called."""
    makers: dict[str, tuple[Callable[[Problem, int], Callable[[], Tensor]], str]] = {
        "dattri, exact cosine": (_dattri, COS),
        "kronfluence, identity": (_kronfluence, DOT),
    }
    return {
        name: Ranking(_at_first_call(maker, given, batch), score)
        for name, (maker, score) in makers.items()
    }


def _at_first_call(
    maker: Callable[[Problem, int], Callable[[], Tensor]], given: Problem, batch: int
) -> Callable[[], Tensor]:
    made: list[Callable[[], Tensor]] = []

    def call() -> Tensor:
        if not made:
            made.append(maker(given, batch))
        return made[0]()

    return call


def package(name: str) -> Any:
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise ImportError(f"skipped: {error}") from error


def _dattri(given: Problem, batch: int) -> Callable[[], Tensor]:
    tracin, task = package("dattri.algorithm.tracin"), package("dattri.task")
    tracin.tqdm = lambda loader, **_: loader

    def loss(parameters: dict[str, Tensor], data: tuple[Tensor, Tensor]) -> Tensor:
        image, label = data
        return F.cross_entropy(
            functional_call(given.model, parameters, (image[None],)), label[None]
        )

    attributor = tracin.TracInAttributor(
        task.AttributionTask(loss, given.model, [given.model.state_dict()]),
        weight_list=torch.ones(1),
        normalized_grad=True,
        device=str(given.train.device),
    )
    attributor.projector_kwargs = None  # or it would project to 512 dimensions
    train = DataLoader(TensorDataset(given.train, given.train_labels), batch)
    # In one batch: its test gradients are computed again for each training batch.
    test = DataLoader(TensorDataset(given.test, given.test_labels), len(given.test))

    def call() -> Tensor:
        with torch.no_grad():
            scores: Tensor = attributor.attribute(train, test)
        return scores.T

    return call


def _kronfluence(given: Problem, batch: int) -> Callable[[], Tensor]:
    kronfluence = package("kronfluence")
    analyzer, arguments = package("kronfluence.analyzer"), package("kronfluence.arguments")
    task_class = package("kronfluence.task").Task

    class Classification(task_class):  # type: ignore[misc, valid-type]
        def compute_train_loss(self, batch: Any, model: nn.Module, sample: bool = False) -> Tensor:
            return F.cross_entropy(model(batch[0]), batch[1], reduction="sum")

        def compute_measurement(self, batch: Any, model: nn.Module) -> Tensor:
            return self.compute_train_loss(batch, model)

    folder = tempfile.TemporaryDirectory()
    task = Classification()
    model = analyzer.prepare_model(copy.deepcopy(given.model), task)  # it is changed
    train = TensorDataset(given.train, given.train_labels)
    test = TensorDataset(given.test, given.test_labels)
    runner = kronfluence.Analyzer(
        "benchmark",
        model,
        task,
        cpu=given.train.device.type == "cpu",
        log_level=logging.ERROR,
        disable_tqdm=True,
        output_dir=folder.name,
    )
    factors = arguments.FactorArguments(strategy="identity")
    runner.fit_all_factors("identity", train, batch, factor_args=factors, overwrite_output_dir=True)

    def call() -> Tensor:
        assert Path(folder.name).exists()  # and so the folder lives as long as the function
        runner.compute_pairwise_scores(
            "scores",
            "identity",
            test,
            train,
            per_device_query_batch_size=len(test),
            per_device_train_batch_size=batch,
            overwrite_output_dir=True,
        )
        scores: Tensor = runner.load_pairwise_scores("scores")["all_modules"]
        return scores

    return call
