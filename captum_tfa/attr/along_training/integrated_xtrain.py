"""The integrated form of XtrAIn: contributions of features and layers that sum to the change (own).

Swaps of features do not add up. The derivative along an update does: between two states the output
changes by ``∫₀¹ ⟨∂f/∂θ(θ_t + τ Δ), Δ⟩ dτ``, a sum over all parameters, and in a first layer over
the features that own its weights.
"""

from __future__ import annotations

from collections.abc import Generator, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from captum_tfa.attr.along_training.entrances import Entrance, entrances
from captum_tfa.attr.along_training.feature_parts import FeatureParts
from captum_tfa.attr.along_training.occluding import (
    Responses,
    first_responses,
    parts_of_step,
    same_entering,
)
from captum_tfa.attr.along_training.opened import Opened, device_of, opened
from captum_tfa.attr.along_training.question import Question, question_of
from captum_tfa.attr.along_training.walk import (
    AlongTraining,
    Attributions,
    needs_two_states,
)
from captum_tfa.attr.along_training.way import points_between
from captum_tfa.trajectory import Trajectory

Contributions = dict[str, Tensor]
BUFFERS = "(buffers)"


class IntegratedXtrAIn(AlongTraining):
    """``Σ_t ∫₀¹ ⟨∂f/∂A, ΔA x_i e_i⟩ dτ``, along the straight way of each step (own extension).

    `XtrAIn` in the limit of small updates, at two passes a point of the integral for all features
    together, instead of two for each. Where XtrAIn must leave the later layers out,
    `contributions` tells their parts too, and the whole sums to ``f(x; θ_T) − f(x; θ_0)``.

    Points are those of Gauss and Legendre. A model with kinks (ReLU) needs more of them than a
    smooth one where states lie far apart. Buffers (BatchNorm's statistics) have no gradient: they
    take the values of the step's end before its parameters move, and what that did is told apart.

    Args:
        model: as for `XtrAIn`, likewise ``trajectory``, whose states may be any distance apart.
        trajectory: likewise.
        n_steps: points of the integral in each step, at least 1.

    Raises:
        TypeError: as `XtrAIn`.
        ValueError: a trajectory of one state; ``n_steps`` below 1.

    Example::

        >>> method = IntegratedXtrAIn(model, trajectory, n_steps=4)
        >>> method.contributions(images, target=labels)["fc.weight"]  # [B]
    """

    def __init__(self, model: nn.Module, trajectory: Trajectory, n_steps: int = 4) -> None:
        super().__init__(model, trajectory)
        needs_two_states(trajectory)
        if not hasattr(n_steps, "__index__") or n_steps < 1:
            raise ValueError(f"n_steps is {n_steps!r}; it must be a whole number, at least 1.")
        self.n_steps = n_steps

    def of_step(
        self,
        model: Opened,
        found: list[Entrance],
        question: Question,
        before: Mapping[str, Tensor],
        after: Mapping[str, Tensor],
        at_once: int | None,
    ) -> tuple[Tensor, ...]:
        """The integral, for the first layers alone."""
        parts = parts_of_step(model, found, before, after)
        total = [
            torch.zeros(question.batch, count).to(tensor)
            for count, tensor in zip(question.counts, question.inputs, strict=True)
        ]
        everyone = torch.arange(question.batch, device=question.inputs[0].device)
        entered: dict[int, Responses] = {}
        for state, weight in points_between(self.model, before, after, self.n_steps):
            with model.at(state), torch.enable_grad():
                for number, rows in enumerate(everyone.split(at_once or question.batch)):
                    outputs, responses = first_responses(model, found, question, rows)
                    same_entering(entered.setdefault(number, responses), responses)
                    deltas = _gradients(outputs, [z for _, z in responses.values()])
                    for (name, places), delta in zip(found, deltas, strict=True):
                        shares = weight * _shares(parts[name], responses[name][0], delta)
                        for which, at in places.items():
                            total[which][rows] += question.grouped(which, shares[:, at], rows)
        return tuple(total)

    def contributions(
        self,
        inputs: Attributions,
        target: Any = None,
        additional_forward_args: Any = None,
        show_progress: bool = False,
    ) -> Contributions:
        """What every part of the model contributed to the change of the output in training.

        Args:
            inputs: as for `attribute`; likewise the others.
            target: likewise.
            additional_forward_args: likewise.
            show_progress: likewise.

        Returns:
            ``"inputs"``: through the features' own weights, in the shape of ``inputs``
            (``"inputs.0"``, ``"inputs.1"`` for a tuple). By name, for every other parameter
            ``[B]``; a first layer's weight is among them where it does more than multiply features
            (it is tied, or multiplies other numbers too). ``"(buffers)"``, if there are any:
            ``[B]``. All of it sums to ``f(x; θ_T) − f(x; θ_0)``, as far as the integral is exact.

        Raises:
            TypeError: as `attribute`.
            ValueError: likewise.
        """
        total: Contributions = {}
        asked = (inputs, target, additional_forward_args, show_progress)
        for parts in self.contributions_by_step(*asked):
            total = {name: total[name] + part if total else part for name, part in parts.items()}
        return total

    def contributions_by_step(
        self,
        inputs: Attributions,
        target: Any = None,
        additional_forward_args: Any = None,
        show_progress: bool = False,
    ) -> Generator[Contributions, None, None]:
        """The contributions of each step by itself, in order; see `contributions`."""
        question = question_of(inputs, target, additional_forward_args, None, device_of(self.model))
        several = isinstance(inputs, tuple | list)
        names = [f"inputs.{n}" for n in range(len(question.inputs))] if several else ["inputs"]
        with torch.inference_mode(False), opened(self.model) as model:
            found = entrances(model, question)
        with self.progress(show_progress) as bar:
            for before, after in self.states():
                with torch.inference_mode(False), opened(self.model) as model:
                    rows = [
                        self._of_row(model, found, question, row, before, after)
                        for row in range(question.batch)
                    ]
                del before, after
                bar.update()
                features = zip(*(own for own, _ in rows), strict=True)
                shaped = [
                    torch.cat(parts).view(tensor.shape)
                    for parts, tensor in zip(features, question.inputs, strict=True)
                ]
                others = [other for _, other in rows]
                yield {
                    **dict(zip(names, shaped, strict=True)),
                    **{name: torch.stack([one[name] for one in others]) for name in others[0]},
                }

    def _of_row(
        self,
        model: Opened,
        found: list[Entrance],
        question: Question,
        row: int,
        before: Mapping[str, Tensor],
        after: Mapping[str, Tensor],
    ) -> tuple[list[Tensor], Contributions]:
        """One row's contributions in one step: of each input's features ``[1, n]``, and others."""
        rows = torch.tensor([row], device=question.inputs[0].device)
        parts = parts_of_step(model, found, before, after)
        names = [name for name, _ in self.model.named_parameters()]
        features = [tensor.new_zeros(1, tensor[0].numel()) for tensor in question.inputs]
        others: Contributions = {}
        entered: Responses | None = None
        for point, weight in points_between(self.model, before, after, self.n_steps):
            with model.at(point, requires_grad=True), torch.enable_grad():
                outputs, responses = first_responses(model, found, question, rows)
                entered = responses if entered is None else entered
                same_entering(entered, responses)
                parameters = [parameter for _, parameter in self.model.named_parameters()]
                gradients = _gradients(outputs, [*(z for _, z in responses.values()), *parameters])
                own = {
                    id(parameter): name for name, parameter in zip(names, parameters, strict=True)
                }
                keys = [own[id(model.layers[name].weight)] for name, _ in found]
            for name, gradient in zip(names, gradients[len(found) :], strict=True):
                if gradient is not None:
                    change = after[name].to(gradient) - before[name].to(gradient)
                    _add(others, name, weight * (gradient * change).sum())
                elif name not in keys:
                    _add(others, name, features[0].new_zeros(()))
            for (name, places), key, delta in zip(found, keys, gradients, strict=False):
                shares = weight * _shares(parts[name], responses[name][0], delta)
                for number, at in places.items():
                    features[number] += shares[:, at]
                    shares[:, at] = 0
                if sum(map(len, places.values())) < shares.shape[1]:
                    _add(others, key, shares.sum())
        buffers = {name: after[name] for name, _ in self.model.named_buffers() if name in after}
        if buffers:
            values = []
            for state in ({**before}, {**before, **buffers}):
                with model.at(state):
                    values.append(first_responses(model, found, question, rows)[0][0])
            others[BUFFERS] = values[1] - values[0]
        return features, others


def by_layer(contributions: Contributions) -> Contributions:
    """Contributions of the parameters of each layer together, ``[B]`` by the layer's name.

    Args:
        contributions: what `IntegratedXtrAIn.contributions` gave, or one step of it.

    Returns:
        The same sum: what is no parameter's stays as it is.
    """
    found: Contributions = {}
    for name, part in contributions.items():
        own = name in ("inputs", BUFFERS) or name.startswith("inputs.") or "." not in name
        _add(found, name if own else name.rpartition(".")[0], part)
    return found


def _add(parts: Contributions, name: str, part: Tensor) -> None:
    parts[name] = parts[name] + part if name in parts else part


def _gradients(outputs: Tensor, wanted: list[Tensor]) -> list[Any]:
    """The gradients of the outputs' sum; ``None`` for what has no part in it."""
    if not outputs.requires_grad:
        return [None] * len(wanted)
    return list(torch.autograd.grad(outputs.sum(), wanted, allow_unused=True))


def _shares(parts: FeatureParts, entering: Tensor, delta: Tensor | None) -> Tensor:
    """``⟨δ, ΔA x_i e_i⟩`` of every number that enters, ``[k, size]``."""
    if delta is None:
        return torch.zeros_like(entering).flatten(1)
    with torch.enable_grad():
        numbers = entering.clone().requires_grad_()
        (back,) = torch.autograd.grad(parts.of(numbers), numbers, delta)
    return (back * entering).flatten(1)
