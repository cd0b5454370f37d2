"""kronfluence's curvature, fitted and ranked under: ``pip install kronfluence``.

Captum's `NaiveInfluenceFunction` inverts a dense Hessian, 63 GB for the small CNN, and its
`ArnoldiInfluenceFunction` a low-rank part of it: neither does what is measured here.
"""

from __future__ import annotations

import copy
import logging
import tempfile
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.data import TensorDataset

from tests.benchmarks.models import Problem
from tests.benchmarks.rank_peers import package


class Kronfluence:
    """An analyzer of a copy of the model, which it changes.

    Args:
        given: the model, training and test images.
        strategy: ``"diagonal"``, ``"kfac"`` or ``"ekfac"``.
        batch: training examples at once.
    """

    def __init__(self, given: Problem, strategy: str, batch: int) -> None:
        self._given, self._strategy, self._batch = given, strategy, batch
        self._runner: Any = None

    def fit(self) -> None:
        """Fit it to the training images, with drawn labels."""
        arguments = package("kronfluence.arguments")
        self._analyzer().fit_all_factors(
            self._strategy,
            TensorDataset(self._given.train, self._given.train_labels),
            self._batch,
            factor_args=arguments.FactorArguments(strategy=self._strategy),
            overwrite_output_dir=True,
        )

    def rank(self) -> Tensor:
        """Scores ``[Q, N]`` of every training image for every test image, once it was fitted."""
        given = self._given
        runner = self._analyzer()
        runner.compute_pairwise_scores(
            "scores",
            self._strategy,
            TensorDataset(given.test, given.test_labels),
            TensorDataset(given.train, given.train_labels),
            per_device_query_batch_size=len(given.test),
            per_device_train_batch_size=self._batch,
            overwrite_output_dir=True,
        )
        scores: Tensor = runner.load_pairwise_scores("scores")["all_modules"]
        return scores

    def _analyzer(self) -> Any:
        if self._runner is None:
            kronfluence = package("kronfluence")
            analyzer, task_class = package("kronfluence.analyzer"), package("kronfluence.task").Task

            class Classification(task_class):  # type: ignore[misc, valid-type]
                def compute_train_loss(
                    self, batch: Any, model: nn.Module, sample: bool = False
                ) -> Tensor:
                    logits, labels = model(batch[0]), batch[1]
                    if sample:
                        labels = torch.multinomial(logits.detach().softmax(1), 1).flatten()
                    return F.cross_entropy(logits, labels, reduction="sum")

                def compute_measurement(self, batch: Any, model: nn.Module) -> Tensor:
                    return self.compute_train_loss(batch, model)

            task = Classification()
            self._folder = tempfile.TemporaryDirectory()
            assert Path(self._folder.name).exists()
            self._runner = kronfluence.Analyzer(
                "benchmark",
                analyzer.prepare_model(copy.deepcopy(self._given.model), task),
                task,
                cpu=self._given.train.device.type == "cpu",
                log_level=logging.ERROR,
                disable_tqdm=True,
                disable_model_save=True,
                output_dir=self._folder.name,
            )
        return self._runner
