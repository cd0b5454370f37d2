"""Scores that are weighted sums of others: over checkpoints, over models."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Generator
from contextlib import closing

import torch
from torch import Tensor

from captum_tfa.gradients import Gradients, StoredGradients, outside_inference_mode
from captum_tfa.scores.pairing import Inputs
from captum_tfa.scores.score import Score


class SumOfScores(Score):
    """``Σ_c w_c S_c``, one part after the other.

    Maps and rankings are the sums of those of the parts, each finished before the next begins, so
    that memory holds one part's graph. A score that is differentiated from outside (by Captum's
    own methods) holds them all. Without a label every part is asked about the same one: what
    `predictions` says.

    Attributes:
        several_models: whether the parts are of several models, which have no layer in common.
    """

    several_models: bool = False

    @abstractmethod
    def parts(self) -> Generator[tuple[float, Score], None, None]:
        """The weights and the parts; each is valid until the next one is asked for."""

    def over_parts(self, compute: Callable[[Score], tuple[Tensor, ...]]) -> tuple[Tensor, ...]:
        """As `Score.over_parts`."""
        total: tuple[Tensor, ...] = ()
        with closing(self.parts()) as parts:
            for weight, part in parts:
                found = tuple(weight * tensor for tensor in compute(part))
                sums = (before + now for before, now in zip(total, found, strict=True))
                total = tuple(sums) if total else found
        return total

    @outside_inference_mode
    def forward(
        self,
        train_inputs: Inputs,
        test_inputs: Inputs,
        test_target: object = None,
        train_target: object = None,
    ) -> Tensor:
        """As `Score.forward`."""
        self._ready()
        if train_target is None:
            train_target = self.predictions(train_inputs)
        if test_target is None:
            test_target = self.predictions(test_inputs)

        def of(part: Score) -> tuple[Tensor]:
            return (part(train_inputs, test_inputs, test_target, train_target),)

        return self.over_parts(of)[0]

    @outside_inference_mode
    def of_itself(self, train_inputs: Inputs, train_target: object = None) -> Tensor:
        """As `Score.of_itself`."""
        if train_target is None:
            train_target = self.predictions(train_inputs)
        return self.over_parts(lambda part: (part.of_itself(train_inputs, train_target),))[0]

    def of(self, train: Gradients, tests: StoredGradients, rows: Tensor | None) -> Tensor:
        """A sum has gradients of several models.

        Raises:
            TypeError: always; `over_parts` goes through the parts.
        """
        raise TypeError(
            f"A {type(self).__name__} is a sum of scores, each with gradients of its own; use it "
            "as it is, or its parts one by one (over_parts)."
        )


class EachPart(SumOfScores):
    """A sum with something else made of each of its parts, such as its numerator.

    Args:
        score: the sum.
        change: from a part to what takes its place.
    """

    def __init__(self, score: SumOfScores, change: Callable[[Score], Score]) -> None:
        super().__init__(score.model, score.loss_fn, score.output_fn, score.choice)
        self.symmetric = False
        self.score, self.name = score, score.name
        self.several_models, self.weights = score.several_models, score.weights
        self._change = change

    def parts(self) -> Generator[tuple[float, Score], None, None]:
        """What is made of each part, with its weight."""
        with closing(self.score.parts()) as parts:
            for weight, part in parts:
                yield weight, self._change(part)

    def outputs(self, inputs: Inputs) -> Tensor:
        """As the sum's own."""
        return self.score.outputs(inputs)

    def _ready(self) -> torch.device:
        return self.score._ready()


def changed(score: Score, change: Callable[[Score], Score]) -> Score:
    """What ``change`` makes of a score, or of each part of a sum."""
    return EachPart(score, change) if isinstance(score, SumOfScores) else change(score)
