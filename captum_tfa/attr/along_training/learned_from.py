"""From which training examples was it learned, and when? The change of an output, by data (own).

A step of SGD is a sum over its batch, ``Δθ = −η/n Σ_j ∇L(z_j; θ_t)``. So what the step did to an
output splits over the examples it learned from: TracIn with every step and no approximation
[pruthi2020estimating].
"""

from __future__ import annotations

from collections.abc import Generator, Mapping
from itertools import pairwise
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.utils.data import Dataset, default_collate

from captum_tfa.attr.along_training.opened import Opened, device_of, opened
from captum_tfa.attr.along_training.question import Question, question_of
from captum_tfa.attr.along_training.walk import AlongTraining, Attributions, needs_two_states
from captum_tfa.attr.along_training.way import points_between
from captum_tfa.gradients.losses import ExampleLosses, LossFn
from captum_tfa.trajectory import Trajectory


class StepShares(NamedTuple):
    """What one step did to an output, by the training examples it learned from.

    Attributes:
        step: the step number of the state after it.
        indices: of the training examples in the batch, ``[n]``.
        shares: what each of them did, ``[B, n]``; above 0 it raised the output.
        rest: what the step did beside that, ``[B]``: momentum, weight decay, BatchNorm's
            statistics, and what the integral misses. About 0 for plain SGD.
    """

    step: int
    indices: list[int]
    shares: Tensor
    rest: Tensor


class LearnedFrom:
    """The change of an output along the training, split over steps and training examples (own).

    ``−η/n ⟨∫₀¹ ∇f(x; θ_t + τ Δ) dτ, ∇L(z_j; θ_t)⟩`` for each example ``j`` of a step's batch. For
    plain SGD all of it sums to ``f(x; θ_T) − f(x; θ_0)``. Where in an example's picture its share
    comes from, the maps tell: to first order it is the score
    ``TracInScore(model, [state], [η/n], measure_fn="logit")``.

    Args:
        model: the model, as it was trained: in a model with BatchNorm or dropout, where a training
            step is no sum over examples, gradients are those of evaluation mode.
        trajectory: every state of the training, with learning rates and batches, such as a
            `TrajectoryRecorder` with ``every=1`` wrote.
        train_dataset: gives ``(inputs, label)`` by index; without random augmentation.
        loss_fn: of which the mean over the batch was minimised, as for `Score`.
        n_steps: points of the integral in each step, at least 1.

    Raises:
        TypeError: as `XtrAIn`.
        ValueError: no learning rates or batches, states further apart than one step.
    """

    def __init__(
        self,
        model: nn.Module,
        trajectory: Trajectory,
        train_dataset: Dataset[Any],
        loss_fn: LossFn | str | None = None,
        n_steps: int = 2,
    ) -> None:
        needs_two_states(trajectory)
        self._walk = AlongTraining(model, trajectory)
        if trajectory.learning_rates is None or trajectory.batches is None:
            raise ValueError(
                "The trajectory has no learning rates or no batches; record it with "
                "TrajectoryRecorder(every=1) and recorder.batch(indices), or give both."
            )
        if any(after - before != 1 for before, after in pairwise(trajectory.steps)):
            raise ValueError("States lie further apart than one step; record with every=1.")
        if not hasattr(n_steps, "__index__") or n_steps < 1:
            raise ValueError(f"n_steps is {n_steps!r}; it must be a whole number, at least 1.")
        self.model, self.trajectory = model, trajectory
        self.train_dataset, self.n_steps = train_dataset, n_steps
        self._rates, self._batches = trajectory.learning_rates, trajectory.batches
        self._losses = ExampleLosses(loss_fn, None)

    def by_step(
        self,
        inputs: Attributions,
        target: Any = None,
        additional_forward_args: Any = None,
        show_progress: bool = False,
    ) -> Generator[StepShares, None, None]:
        """What each step did, by the examples it learned from, in order.

        Args:
            inputs: what is explained, as for `XtrAIn.attribute`; likewise the others.
            target: likewise.
            additional_forward_args: likewise.
            show_progress: likewise.

        Raises:
            TypeError: as `XtrAIn.attribute`.
            ValueError: likewise; labels that do not suit the loss; an index that the training set
                has not.
        """
        device = device_of(self.model)
        question = question_of(inputs, target, additional_forward_args, None, device)
        with self._walk.progress(show_progress) as bar:
            for number, (before, after) in enumerate(self._walk.states()):
                indices = self._batches[number]
                examples = self._examples(indices)
                with torch.inference_mode(False), opened(self.model) as model:
                    gained = self._outputs(model, question, after)
                    gained = gained - self._outputs(model, question, before)
                    means = self._mean_gradients(model, question, before, after)
                    products = self._products(model, before, examples, means, device)
                del before, after
                shares = -self._rates[number] / max(1, len(indices)) * products
                bar.update()
                yield StepShares(
                    self.trajectory.steps[number + 1], indices, shares, gained - shares.sum(1)
                )

    def totals(
        self,
        inputs: Attributions,
        target: Any = None,
        additional_forward_args: Any = None,
        show_progress: bool = False,
    ) -> Tensor:
        """What each training example did over the whole training, ``[B, N]``; see `by_step`."""
        table: Tensor | None = None
        count = len(self.train_dataset)  # type: ignore[arg-type]
        for step in self.by_step(inputs, target, additional_forward_args, show_progress):
            if table is None:
                table = step.shares.new_zeros(len(step.shares), count)
            table.index_add_(1, torch.tensor(step.indices, device=table.device), step.shares)
        assert table is not None
        return table

    def _examples(self, indices: list[int]) -> list[Any]:
        count = len(self.train_dataset)  # type: ignore[arg-type]
        wrong = [index for index in indices if not 0 <= index < count]
        if wrong:
            raise ValueError(
                f"a batch holds example {wrong[0]}, and train_dataset has {count}; give the "
                "training set whose indices were recorded."
            )
        return [self.train_dataset[index] for index in indices]

    def _outputs(self, model: Opened, question: Question, state: Mapping[str, Tensor]) -> Tensor:
        rows = torch.arange(question.batch, device=question.inputs[0].device)
        with model.at(state):
            return question.chosen(model.call(question.arguments(rows), {}), rows)

    def _mean_gradients(
        self,
        model: Opened,
        question: Question,
        before: Mapping[str, Tensor],
        after: Mapping[str, Tensor],
    ) -> list[list[Tensor]]:
        """The mean gradient of each row's output along the way, by parameter."""
        means: list[list[Tensor]] = [[] for _ in range(question.batch)]
        for state, weight in points_between(self.model, before, after, self.n_steps):
            with model.at(state, requires_grad=True), torch.enable_grad():
                for number in range(question.batch):
                    row = torch.tensor([number], device=question.inputs[0].device)
                    output = question.chosen(model.call(question.arguments(row), {}), row)
                    parts = _gradients(output.sum(), [*self.model.parameters()])
                    parts = [weight * part for part in parts]
                    known = means[number]
                    means[number] = (
                        [a + b for a, b in zip(known, parts, strict=True)] if known else parts
                    )
        return means

    def _products(
        self,
        model: Opened,
        state: Mapping[str, Tensor],
        examples: list[Any],
        means: list[list[Tensor]],
        device: torch.device,
    ) -> Tensor:
        """``⟨mean gradient of row b, gradient of example j⟩``, ``[B, n]``.

        The examples' gradients are linear in weights that their losses bear, and so are the
        products: their derivatives by these weights are what is asked, all examples at once.
        """
        if not examples:
            return torch.zeros(len(means), 0, device=device)
        given, labels = default_collate(examples)
        several = tuple(given) if isinstance(given, tuple | list) else (given,)
        arguments = tuple(tensor.to(device) for tensor in several)
        with model.at(state, requires_grad=True), torch.enable_grad():
            losses = self._losses(model.call(arguments, {}), labels.to(device))
            weights = torch.ones_like(losses, requires_grad=True)
            parameters = [*self.model.parameters()]
            together = _gradients((weights * losses).sum(), parameters, again=True)
            rows = []
            for mean in means:
                product = sum(
                    (a * b).sum() for a, b in zip(mean, together, strict=True) if b.requires_grad
                )
                (row,) = torch.autograd.grad(product, weights, retain_graph=True)  # type: ignore[arg-type]
                rows.append(row)
        return torch.stack(rows)


def _gradients(value: Tensor, parameters: list[nn.Parameter], again: bool = False) -> list[Tensor]:
    found = torch.autograd.grad(value, parameters, create_graph=again, allow_unused=True)
    return [
        torch.zeros_like(parameter) if part is None else part
        for part, parameter in zip(found, parameters, strict=True)
    ]
