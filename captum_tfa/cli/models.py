"""The user's model: built by name or by factory, with the weights from a file."""

from __future__ import annotations

import difflib
import importlib
import inspect
import os
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import torchvision
from torch import Tensor, nn
from torchvision.transforms._presets import ImageClassification

from captum_tfa.cli import model_libraries
from captum_tfa.cli.errors import UserError, one_line
from captum_tfa.trajectory.state_files import check_fits, read_state

Preprocess = Callable[[Any], Tensor]


def choose_device(name: str) -> torch.device:
    """The device of a name; ``auto`` is cuda if there is one, else cpu.

    Raises:
        UserError: There is no such device.
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
        computed = float((torch.ones(2, device=device) * 2).sum())  # "meta" has no numbers
    except (RuntimeError, AssertionError, ValueError, TypeError) as error:
        raise UserError(f"--device {name} cannot be used here; try auto or cpu") from error
    if computed != 4:
        raise UserError(f"--device {name} computes 2 + 2 = {computed:g}; try auto or cpu")
    return device


def build(name: str, num_classes: int) -> tuple[nn.Module, Preprocess]:
    """A fresh model and what prepares its pictures.

    Args:
        name: A torchvision classifier, ``timm:NAME``, ``hf:FOLDER``, or
            ``package.module:factory``. The current folder is searched for the module too.
        num_classes: How many classes the model shall tell apart.

    Returns:
        ``(model, preprocess)``; ``preprocess`` makes a tensor ``[3, H, W]`` of a PIL image.

    Raises:
        UserError: No such model, or a factory that fails.
    """
    if name.startswith(model_libraries.TIMM):
        return model_libraries.from_timm(name.removeprefix(model_libraries.TIMM), num_classes)
    if name.startswith(model_libraries.TRANSFORMERS):
        return model_libraries.from_transformers(name.removeprefix(model_libraries.TRANSFORMERS))
    return _from_factory(name, num_classes) if ":" in name else _from_torchvision(name, num_classes)


def load_weights(model: nn.Module, file: str) -> None:
    """Puts the tensors of a state-dict file into the model. Nothing but tensors is unpickled.

    Raises:
        UserError: No such file, one that holds anything but tensors, or the tensors of
            another model.
    """
    try:
        tensors = read_state(file)
        check_fits(tensors, model, file)
    except ValueError as error:
        raise UserError(f"--weights {one_line(error)}") from error
    model.load_state_dict(tensors)


def weights_into(model: nn.Module, name: str, file: str | None) -> None:
    """Puts the weights of ``--weights`` into the model, if it has not its own.

    Raises:
        UserError: As `load_weights`; or none are given, or some that are not needed.
    """
    if model_libraries.brings_weights(name):
        if file is not None:
            raise UserError(f"--weights {file}: --model {name} has its own; leave --weights out")
    elif file is None:
        raise UserError(f"--weights is missing; name the state dict of --model {name}")
    else:
        load_weights(model, file)


def check_runs(model: nn.Module, image: Tensor, num_classes: int) -> bool:
    """Runs one image ``[3, H, W]`` through the model.

    Returns:
        Whether it tells two classes apart by one logit, which is above 0 for the second.

    Raises:
        UserError: The model fails, or does not give logits ``[1, num_classes]``.
    """
    size = " x ".join(map(str, image.shape))
    try:
        with torch.no_grad():
            output = model(image.unsqueeze(0).to(next(model.parameters()).device))
    except (Exception, SystemExit) as error:
        raise UserError(
            f"the model fails on an image of {size} ({where(error)}); "
            "set model.preprocess in the factory to the transform that it needs"
        ) from error
    if not isinstance(output, Tensor) or output.dim() != 2:
        raise UserError(
            f"the model gives {type(output).__name__} for an image; it must give a tensor of "
            "logits [B, classes]: let the factory return a module that does"
        )
    if output.shape[1] == 1 and num_classes == 2:
        return True
    if output.shape[1] != num_classes:
        raise UserError(
            f"the model tells {output.shape[1]} classes apart, --data has {num_classes} "
            "classes; name the data that the model was trained on"
        )
    return False


def _from_torchvision(name: str, num_classes: int) -> tuple[nn.Module, Preprocess]:
    known = torchvision.models.list_models(module=torchvision.models)
    if name not in known:
        near = difflib.get_close_matches(name, known, n=3)
        hint = f"did you mean {', '.join(near)}?" if near else "for example resnet18, vit_b_16."
        raise UserError(
            f"--model {name} is no classifier of torchvision; {hint} "
            "Your own model goes by PACKAGE.MODULE:FACTORY"
        )
    model = torchvision.models.get_model(name, weights=None, num_classes=num_classes)
    preprocess = torchvision.models.get_model_weights(name).DEFAULT.transforms()
    return model, preprocess


def _from_factory(name: str, num_classes: int) -> tuple[nn.Module, Preprocess]:
    factory = function_of(name, "--model", "PACKAGE.MODULE:FACTORY")
    try:
        model = factory(**_arguments(factory, num_classes))
    except (Exception, SystemExit) as error:
        raise UserError(
            f"--model {name}: the factory fails ({where(error)}); "
            "it must be callable with no argument but num_classes"
        ) from error
    if not isinstance(model, nn.Module):
        raise UserError(
            f"--model {name} returns a {type(model).__name__}; it must return a torch.nn.Module"
        )
    preprocess = getattr(model, "preprocess", None) or ImageClassification(crop_size=224)
    if not callable(preprocess):
        raise UserError(
            f"--model {name}: model.preprocess is a {type(preprocess).__name__}; it must be a "
            "transform from a PIL image to a tensor"
        )
    return model, preprocess


def function_of(name: str, option: str, form: str) -> Callable[..., Any]:
    """A function of the user's, by ``package.module:function``.

    The current folder is searched for the module too.

    Args:
        name: Its name.
        option: For which option it was given, for messages.
        form: What such names look like, for messages.

    Raises:
        UserError: There is no such function, or its module cannot be imported.
    """
    module_name, _, function_name = name.partition(":")
    if not module_name or not function_name.isidentifier():
        raise UserError(f"{option} {name} is not of the form {form}")
    if os.getcwd() not in sys.path:
        sys.path.insert(0, os.getcwd())
    try:
        module = importlib.import_module(module_name)
    except (Exception, SystemExit) as error:
        raise UserError(
            f"{option} {name}: importing {module_name} fails ({where(error)}); "
            "run the command in the folder where the module lies, or install its package"
        ) from error
    function = getattr(module, function_name, None)
    if not callable(function):
        raise UserError(f"{option} {name}: {module_name} has no function {function_name}")
    found: Callable[..., Any] = function
    return found


def _arguments(factory: Callable[..., Any], num_classes: int) -> dict[str, int]:
    parameters = inspect.signature(factory).parameters.values()
    takes = any(
        parameter.name == "num_classes" or parameter.kind is parameter.VAR_KEYWORD
        for parameter in parameters
    )
    return {"num_classes": num_classes} if takes else {}


def where(error: BaseException) -> str:
    """What failed and in which line of whose file."""
    last = traceback.extract_tb(error.__traceback__)[-1]
    text = f"{type(error).__name__}: {one_line(error)}"
    return f"{text[:200]}, in {Path(last.filename).name} line {last.lineno}"
