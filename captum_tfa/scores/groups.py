"""Which parameters belong together when a score is told apart by its parts?"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal

from torch import nn

from captum_tfa.gradients.selection import ParameterChoice, by_layer, choose

Grouping = Literal["parameter", "layer"] | Sequence[str] | Mapping[str, ParameterChoice]
"""How to group: by parameter, by layer, by modules of these names, or groups of one's own."""

Groups = dict[str, tuple[str, ...]]
"""From the name of a group to the names of its parameters, in the model's order."""


def groups_of(model: nn.Module, parameters: ParameterChoice, by_group: Grouping) -> Groups:
    """The groups of the parameters that count.

    Args:
        model: the model.
        parameters: which of its parameters count, as for a score.
        by_group: as for `Score.by_parameter`.

    Returns:
        Every parameter that counts in one group, every group with at least one. A parameter that
        modules share goes by its first name.

    Raises:
        TypeError: ``by_group`` is none of these.
        ValueError: groups that overlap, leave a parameter out or have none that counts.
    """
    names = list(choose(model, parameters))
    if isinstance(by_group, str):
        if by_group not in ("parameter", "layer"):
            raise ValueError(
                f"by_group is {by_group!r}; it must be 'parameter', 'layer', a list of modules' "
                "names, or a mapping from a group's name to its parameters."
            )
        if by_group == "parameter":
            return {name: (name,) for name in names}
        return {layer: tuple(inside) for layer, inside in by_layer(names).items()}
    if not isinstance(by_group, Mapping | Sequence) or not by_group:
        raise TypeError(
            f"by_group is a {type(by_group).__name__}"
            f"{' without a group' if isinstance(by_group, Mapping | Sequence) else ''}; give "
            "'parameter', 'layer', a list of modules' names, or a mapping from a group's name to "
            "its parameters: {'early': ['conv1', 'bn1'], 'late': ['fc']}."
        )
    choices = by_group if isinstance(by_group, Mapping) else {name: [name] for name in by_group}
    of: dict[str, str] = {}
    for group, choice in choices.items():
        inside = [name for name in choose(model, choice) if name in names]
        if not inside:
            raise ValueError(f"The group {group!r} holds no parameter that counts; leave it out.")
        for name in inside:
            if name in of:
                raise ValueError(
                    f"The groups {of[name]!r} and {group!r} both hold {name}; each parameter "
                    "belongs to one group."
                )
            of[name] = str(group)
    left = [name for name in names if name not in of]
    if left:
        raise ValueError(
            f"by_group leaves out {_some(left)}; contributions must add up to the score, so put "
            "what is left into a group of its own."
        )
    return {
        str(group): tuple(name for name in names if of[name] == str(group)) for group in choices
    }


def _some(names: Sequence[str]) -> str:
    return ", ".join(names[:4]) + (f" and {len(names) - 4} more" if len(names) > 4 else "")
