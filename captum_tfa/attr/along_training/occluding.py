"""What one update of the weights did through each feature's own weights [lymperopoulos2026xtrain].

forward   φ_i  = f(x; θ') − f(x; θ' with feature i's weights taken from θ)
reverse   φ'_i = f(x; θ with feature i's weights taken from θ') − f(x; θ)
step      (φ_i + φ'_i) / 2
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from captum_tfa.attr.along_training.entrances import Entrance
from captum_tfa.attr.along_training.feature_parts import FeatureParts
from captum_tfa.attr.along_training.opened import Opened, reading
from captum_tfa.attr.along_training.question import Question

# So many numbers of the inputs and first responses at once, unless the caller says otherwise.
_NUMBERS_AT_ONCE = 2**22
_MOST_AT_ONCE = 4096

Responses = dict[str, tuple[Tensor, Tensor]]
"""For each first layer what enters it and what it responds."""


def occluded(
    model: Opened,
    found: list[Entrance],
    question: Question,
    before: Mapping[str, Tensor],
    after: Mapping[str, Tensor],
    at_once: int | None,
) -> tuple[Tensor, ...]:
    """The effects ``[B, n]`` of one update for each input's features, or groups of them.

    Args:
        model: the model.
        found: its first layers.
        question: what is asked.
        before: the state before the update.
        after: the state after it.
        at_once: perturbed responses in one pass of the rest.

    Raises:
        ValueError: what comes before a first layer is not the same at both states.
    """
    parts = parts_of_step(model, found, before, after)
    total: list[Tensor] | None = None
    entered: Responses | None = None
    for state, sign in ((before, 1), (after, -1)):
        with model.at(state):
            outputs, responses = first_responses(model, found, question)
            entered = responses if entered is None else entered
            same_entering(entered, responses)
            effects = [
                sign
                * _perturbed(
                    model, entrance, number, parts, question, responses, outputs, sign, at_once
                )
                for number, entrance in _by_input(found)
            ]
        total = effects if total is None else [a + b for a, b in zip(total, effects, strict=True)]
    assert total is not None
    return tuple(both / 2 for both in total)


def parts_of_step(
    model: Opened,
    found: list[Entrance],
    before: Mapping[str, Tensor],
    after: Mapping[str, Tensor],
) -> dict[str, FeatureParts]:
    """``ΔA`` of each first layer."""
    parts = {}
    for name, _ in found:
        layer = model.layers[name]
        key = f"{name}.weight" if name else "weight"
        weight = layer._parameters["weight"]
        assert weight is not None
        parts[name] = FeatureParts(layer, after[key].to(weight) - before[key].to(weight))
    return parts


def first_responses(
    model: Opened, found: list[Entrance], question: Question, rows: Tensor | None = None
) -> tuple[Tensor, Responses]:
    """The output that counts, ``[B]``, and the first layers' responses, of all rows or of some."""
    kept: dict[str, list[tuple[Tensor, Tensor]]] = {name: [] for name, _ in found}
    instead = {name: reading(model.layers[name], kept[name]) for name in kept}
    if rows is None:
        rows = torch.arange(question.batch, device=question.inputs[0].device)
    outputs = question.chosen(model.call(question.arguments(rows), instead), rows)
    for name, calls in kept.items():
        if len(calls) != 1:
            raise ValueError(
                f"Layer '{name}' was called {len(calls)} times in one pass; a first layer must be "
                "called once, whatever the inputs."
            )
    return outputs, {name: calls[0] for name, calls in kept.items()}


def same_entering(one: Responses, other: Responses) -> None:
    """Raise unless the same numbers enter the first layers.

    Raises:
        ValueError: they differ.
    """
    for name, (entering, _) in one.items():
        if not torch.equal(entering, other[name][0]):
            raise ValueError(
                f"What enters layer '{name}' changes along the training: something before it is "
                "learned, or random. The first layer must be the first that is learned."
            )


def _by_input(found: list[Entrance]) -> list[tuple[int, Entrance]]:
    pairs = [(number, entrance) for entrance in found for number in entrance.places]
    return sorted(pairs, key=lambda pair: pair[0])


def _perturbed(
    model: Opened,
    entrance: Entrance,
    number: int,
    parts: dict[str, FeatureParts],
    question: Question,
    responses: Responses,
    outputs: Tensor,
    sign: int,
    at_once: int | None,
) -> Tensor:
    """``f(x; feature i's part added) − f(x)`` for each feature or group, ``[B, n]``."""
    name, own, places = entrance.name, parts[entrance.name], entrance.places[number]
    entering, response = responses[name]
    moving = own.moving(entering)[:, places]
    groups = question.groups[number]
    effects = outputs.new_zeros(question.batch, question.counts[number])
    everyone = torch.arange(question.batch, device=moving.device)
    moved = question.grouped(number, moving.float(), everyone) > 0  # what has no part moves nothing
    pairs = moved.nonzero()
    numbers = sum(tensor[0].numel() for tensor in (*question.inputs, response))
    size = at_once or max(1, min(_MOST_AT_ONCE, _NUMBERS_AT_ONCE // numbers))
    for rows, units in (chunk.unbind(1) for chunk in pairs.split(size)):
        others = (item for item in responses.items() if item[0] != name)
        instead = {other: _told(z[rows]) for other, (_, z) in others}
        changed = response[rows].contiguous()
        if groups is None:
            at = places[units]
            values = sign * entering.flatten(1)[rows, at]
            own.add_single(changed, values, at, entering.shape[1:])
        else:
            alone = torch.zeros_like(entering[rows])
            inside = groups[rows] == units[:, None]
            alone.view(len(rows), -1)[:, places] = entering.flatten(1)[rows][:, places] * inside
            changed += sign * own.of(alone)
        instead[name] = _told(changed)
        answers = question.chosen(model.call(question.arguments(rows), instead), rows)
        effects[rows, units] = answers - outputs[rows]
    return effects


def _told(response: Tensor):  # type: ignore[no-untyped-def]
    """A ``forward`` that responds what it is told."""
    return lambda input: response
