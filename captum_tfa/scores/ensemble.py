"""The mean of a score over several trained models: what one training run owes to chance goes.

Trained once more, a network ranks otherwise. Published comparisons with retraining therefore take
the mean over several runs [park2023trak].
"""

from __future__ import annotations

from collections.abc import Generator, Sequence
from contextlib import closing

import torch
from torch import Tensor

from captum_tfa.scores.pairing import Inputs
from captum_tfa.scores.score import Score
from captum_tfa.scores.sum_of_scores import SumOfScores


class EnsembleScore(SumOfScores):
    """``(1/n) Σ_i S_i``, the mean of scores of ``n`` models that take the same inputs.

    Without a label the mean of the models' outputs says what is asked.

    Args:
        scores: one a model, at least one; each with its own curvature, if it has any.

    Raises:
        TypeError: one of them is no score.
        ValueError: there is none, or they are on several devices.

    Example::

        >>> score = EnsembleScore([GradCosScore(model) for model in models])
        >>> ScoreInfluence(score, train_dataset).influence((test_images, labels), k=10)
    """

    several_models = True

    def __init__(self, scores: Sequence[Score]) -> None:
        scores = list(scores)
        if not scores:
            raise ValueError("scores is empty; give the score of at least one model.")
        for score in scores:
            if not isinstance(score, Score):
                raise TypeError(
                    f"scores holds a {type(score).__name__}; give scores such as "
                    "GradCosScore(model)."
                )
        devices = {next(score.model.parameters()).device for score in scores}
        if len(devices) > 1:
            raise ValueError(
                f"The models are on {', '.join(sorted(map(str, devices)))}; move them to one."
            )
        first = scores[0]
        super().__init__(first.model, first.loss_fn, first.output_fn, first.choice)
        self.scores = scores
        self._models = torch.nn.ModuleList(scores)  # they move and print with it
        self.symmetric = all(score.symmetric for score in scores)
        self.weights = tuple(weights for score in scores for weights in score.weights)
        self.name = f"mean of {len(scores)} × {first.name}"

    def parts(self) -> Generator[tuple[float, Score], None, None]:
        """Every score, with the weight ``1/n``; of a sum, such as TracIn, each of its parts."""
        for score in self.scores:
            if not isinstance(score, SumOfScores):
                yield 1 / len(self.scores), score
                continue
            with closing(score.parts()) as parts:
                for weight, part in parts:
                    yield weight / len(self.scores), part

    def outputs(self, inputs: Inputs) -> Tensor:
        """The mean of what the models say of images."""
        return torch.stack([score.outputs(inputs) for score in self.scores]).mean(0)

    def _ready(self) -> torch.device:
        devices = [score._ready() for score in self.scores]
        return devices[0]
