"""Parameter gradients of examples under drawn or true labels, pass by pass over the data."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Literal

import torch
from torch import Tensor, nn

from captum_tfa.curvature.examples import Examples
from captum_tfa.curvature.labels import label_sampler
from captum_tfa.gradients import GradientEngine
from captum_tfa.gradients.losses import ExampleLosses
from captum_tfa.gradients.plain_pass import plain_pass
from captum_tfa.gradients.selection import ParameterChoice, choose
from captum_tfa.gradients.terms import Term

Labels = Literal["sampled", "true"]


class Samples:
    """The gradients ``g`` of which a Fisher matrix ``E[g gᵀ]`` is made.

    Args:
        model: the user's module.
        losses: the loss of each example.
        parameters: which parameters count.
        examples: the training examples.
        labels: ``"sampled"`` draws one an example from the model, ``"true"`` takes the data's.
        show_progress: whether passes show a progress bar.
    """

    def __init__(
        self,
        model: nn.Module,
        losses: ExampleLosses,
        parameters: ParameterChoice,
        examples: Examples,
        labels: Labels,
        show_progress: bool,
    ) -> None:
        self.model, self.losses, self.parameters = model, losses, parameters
        self.examples, self.show_progress = examples, show_progress
        self.chosen = choose(model, parameters)
        self.engine = GradientEngine(model, losses, parameters)
        self._draw = label_sampler(losses) if labels == "sampled" else None
        self._drawn: list[Tensor] = []

    def __len__(self) -> int:
        return len(self.examples)

    def labelled(self, what: str) -> Iterator[tuple[tuple[Tensor, ...], Tensor]]:
        """Inputs and labels of one batch after the other; labels are drawn in the first pass."""
        for number, batch in enumerate(self.examples.batches(what, self.show_progress)):
            labels = batch.labels
            if self._draw is not None:
                if number == len(self._drawn):
                    self._drawn.append(self._labels(batch.inputs, batch.seeds).cpu())
                labels = self._drawn[number].to(labels.device)
            yield batch.inputs, labels

    def terms(self, what: str) -> Iterator[Mapping[str, Term]]:
        """The gradients of some examples after the other, as terms by parameter."""
        for inputs, labels in self.labelled(what):
            yield from self.engine.terms(inputs, labels)

    def _labels(self, inputs: tuple[Tensor, ...], seeds: Tensor) -> Tensor:
        assert self._draw is not None
        with plain_pass(self.model) as model, torch.no_grad():
            outputs = self.losses.outputs(model(*inputs))
        return self._draw(outputs, seeds)
