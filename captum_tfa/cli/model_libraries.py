"""Image models of timm and transformers, prepared as their own configurations ask for.

Nothing is fetched, no code that lies beside a model is run, and weights are read from safetensors
only.
"""

from __future__ import annotations

import difflib
import importlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from captum_tfa.cli.errors import UserError, one_line

TIMM, TRANSFORMERS = "timm:", "hf:"
"""How the names of their models begin."""


def brings_weights(name: str) -> bool:
    """Whether a model of this name comes with its weights."""
    return name.startswith(TRANSFORMERS)


def from_timm(name: str, num_classes: int) -> tuple[nn.Module, Callable[[Any], Tensor]]:
    """A fresh model of timm, and timm's own transform for its evaluation.

    Args:
        name: What timm calls it, such as ``resnet18`` or ``vit_tiny_patch16_224.augreg_in21k``.
        num_classes: How many classes it shall tell apart.

    Raises:
        UserError: timm is not installed, or has no such model.
    """
    timm = _package("timm")
    known = timm.list_models()
    if name.split(".")[0] not in known:
        near = difflib.get_close_matches(name, known, n=3)
        hint = f"did you mean {', '.join(near)}?" if near else "for example resnet18."
        raise UserError(f"--model {TIMM}{name} is no model of timm; {hint}")
    try:
        model: nn.Module = timm.create_model(name, pretrained=False, num_classes=num_classes)
    except Exception as error:  # some models have needs of their own
        raise UserError(
            f"--model {TIMM}{name} cannot be made ({type(error).__name__}: "
            f"{one_line(error)[:200]}); make it in a factory of your own, PACKAGE.MODULE:FACTORY"
        ) from error
    settings = timm.data.resolve_model_data_config(model)
    return model, timm.data.create_transform(**settings, is_training=False)


class LogitsOf(nn.Module):
    """An image classifier of transformers that gives its logits alone.

    Attributes:
        model: The classifier.
        class_names: What its configuration calls its classes, in order; None if only by number.
    """

    def __init__(self, model: nn.Module, class_names: Sequence[str] | None) -> None:
        super().__init__()
        self.model = model
        self.class_names = class_names

    def forward(self, pixels: Tensor) -> Tensor:
        """The logits ``[B, classes]`` of images ``[B, 3, H, W]``."""
        logits: Tensor = self.model(pixel_values=pixels).logits
        return logits


class Preparation:
    """A model's image processor as a transform from a PIL image to a tensor ``[3, H, W]``.

    Attributes:
        mean: Per channel, if it normalises; None otherwise.
        std: Likewise.
    """

    def __init__(self, processor: Any) -> None:
        self._processor = processor
        normalises = bool(getattr(processor, "do_normalize", False))
        self.mean = [float(v) for v in processor.image_mean] if normalises else None
        self.std = [float(v) for v in processor.image_std] if normalises else None

    def __call__(self, picture: Any) -> Tensor:
        """The picture as the model wants it."""
        pixels: Tensor = self._processor(images=picture, return_tensors="pt")["pixel_values"][0]
        return pixels

    def __repr__(self) -> str:
        told = ("size", "crop_size", "resample", "rescale_factor", "image_mean", "image_std")
        parts = [
            f"{name}={value}"
            for name in told
            if (value := getattr(self._processor, name, None)) is not None
        ]
        return f"{type(self._processor).__name__}({', '.join(parts)})"


def from_transformers(folder: str) -> tuple[nn.Module, Callable[[Any], Tensor]]:
    """A trained image classifier of transformers and its own preparation, from a folder.

    Args:
        folder: Holds ``config.json``, ``preprocessor_config.json`` and ``model.safetensors`` (or
            its parts with their index), as ``save_pretrained`` writes them.

    Raises:
        UserError: transformers is not installed, a file is missing, or they do not fit together.
    """
    root = Path(folder).expanduser()
    option = f"--model {TRANSFORMERS}{folder}"
    if not root.is_dir():
        what = "is a file" if root.exists() else "does not exist"
        raise UserError(
            f"{option} {what}; name a local folder that save_pretrained of transformers has written"
        )
    weights = ("model.safetensors", "model.safetensors.index.json")
    for needed in (("config.json",), ("preprocessor_config.json",), weights):
        if not any((root / name).is_file() for name in needed):
            raise UserError(
                f"{option} holds no {needed[0]}; save the model and its image processor there with "
                "save_pretrained (weights in safetensors: no others are read)"
            )
    transformers = _package("transformers")
    here_only = {"local_files_only": True, "trust_remote_code": False}
    try:
        processor = transformers.AutoImageProcessor.from_pretrained(str(root), **here_only)
        model, told = transformers.AutoModelForImageClassification.from_pretrained(
            str(root),
            use_safetensors=True,
            output_loading_info=True,
            dtype=torch.float32,
            **here_only,
        )
    except Exception as error:  # it raises whatever its parts raise
        raise UserError(
            f"{option} is no image classifier that transformers can load without code of its own "
            f"({type(error).__name__}: {one_line(error)[:200]})"
        ) from error
    missing = sorted([*told["missing_keys"], *(str(key) for key in told["mismatched_keys"])])
    if missing:
        raise UserError(
            f"{option} lacks weights of the model ({', '.join(missing[:3])}"
            f"{', ...' if len(missing) > 3 else ''}), which would be random; "
            "save the fine-tuned classifier whole"
        )
    names = [str(model.config.id2label[label]) for label in sorted(model.config.id2label)]
    numbered = all(name == f"LABEL_{label}" for label, name in enumerate(names))
    return LogitsOf(model, None if numbered else names), Preparation(processor)


def check_class_order(model: nn.Module, classes: Sequence[str]) -> None:
    """Refuses a model that knows these classes in another order.

    Raises:
        UserError: Its own names are those of the data, but a label would mean another class.
    """
    own = getattr(model, "class_names", None)
    if own is None or list(own) == list(classes) or set(own) != set(classes):
        return
    place = next(place for place, name in enumerate(classes) if own[place] != name)
    raise UserError(
        f"the model's class {place} is {own[place]}, but that of --data is {classes[place]}: "
        "the data's classes are in the order of their names; train or save the model in that order"
    )


def _package(name: str) -> Any:
    """The package, which is an optional one.

    Raises:
        UserError: It is not installed.
    """
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise UserError(
            f"this model needs {name}, which is not installed: pip install 'captum_tfa[{name}]'"
        ) from error
