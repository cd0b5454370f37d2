"""Which parameters count in a score.

By default every trainable parameter does. Restricting a score to late layers makes it cheaper:
nothing below them is differentiated a second time.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from torch import nn

ParameterChoice = Iterable[str] | Callable[[str], bool] | nn.Module | Iterable[nn.Module] | None


def choose(model: nn.Module, parameters: ParameterChoice = None) -> dict[str, nn.Parameter]:
    """The trainable parameters that count, by name.

    Args:
        model: the model.
        parameters: names of parameters or of modules (``["layer4", "fc.weight"]``), a predicate
            on the parameter's name, a module of the model or several; ``None`` for all.
            Parameters with ``requires_grad=False`` never count.

    Raises:
        TypeError: ``parameters`` is none of these; a chosen parameter is complex.
        ValueError: a name or module is not part of the model, or no trainable parameter is left.
    """
    # A parameter that several modules share has several names, and counts under its first.
    named = dict(model.named_parameters(remove_duplicate=False))
    names = list(named) if parameters is None else _names(model, list(named), parameters)
    wanted = {id(named[name]) for name in names}
    chosen = {
        name: parameter
        for name, parameter in model.named_parameters()
        if id(parameter) in wanted and parameter.requires_grad
    }
    if not chosen:
        what = "The model has no trainable parameter"
        if parameters is not None:
            what = "The choice of `parameters` leaves no trainable parameter"
        raise ValueError(
            f"{what}: a score compares parameter gradients, so at least one parameter must have "
            "requires_grad=True. Call requires_grad_(True) on the layers that should count."
        )
    for name, parameter in chosen.items():
        if parameter.is_complex():
            raise TypeError(
                f"Parameter '{name}' is complex; scores compare real gradients. Leave it out with "
                "`parameters=`, or store its real and imaginary parts as two parameters."
            )
    return chosen


def by_layer(names: Iterable[str]) -> dict[str, list[str]]:
    """Parameters by the module that owns them; one that the model owns is a layer by itself."""
    layers: dict[str, list[str]] = {}
    for name in names:
        layers.setdefault(name.rpartition(".")[0] or name, []).append(name)
    return layers


def _names(model: nn.Module, known: list[str], parameters: ParameterChoice) -> list[str]:
    if isinstance(parameters, str):
        parameters = [parameters]
    if isinstance(parameters, nn.Module):
        parameters = [parameters]
    if callable(parameters):
        return [name for name in known if parameters(name)]
    if not isinstance(parameters, Iterable):
        raise TypeError(_kinds(parameters))
    wanted = set()
    for item in parameters:
        if isinstance(item, str):
            wanted |= _by_name(known, item)
        elif isinstance(item, nn.Module):
            wanted |= _by_module(model, item)
        else:
            raise TypeError(_kinds(item))
    return [name for name in known if name in wanted]


def _kinds(given: object) -> str:
    return (
        f"`parameters` holds a {type(given).__name__}; give names of parameters or modules, "
        "modules of the model, a function from a name to True or False, or None for all."
    )


def _by_name(known: list[str], wanted: str) -> set[str]:
    found = {name for name in known if name == wanted or name.startswith(f"{wanted}.")}
    if not found:
        raise ValueError(
            f"The model has no parameter or module named '{wanted}'. Its parameters are "
            f"{', '.join(known[:8])}{', ...' if len(known) > 8 else ''}."
        )
    return found


def _by_module(model: nn.Module, wanted: nn.Module) -> set[str]:
    own = {id(parameter): name for name, parameter in model.named_parameters()}  # its first name
    inside = list(wanted.parameters())
    if not all(id(parameter) in own for parameter in inside):
        raise ValueError(
            f"The module {type(wanted).__name__} in `parameters` is not part of the model. Give "
            "modules of the very model that the score is made of, such as model.layer4."
        )
    return {own[id(parameter)] for parameter in inside}
