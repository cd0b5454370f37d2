"""Options that several commands have in common. Nothing heavy is imported for them."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from typing import Any

_Add = Callable[..., Any]


def add_model(add: _Add) -> None:
    """Which model, trained on what."""
    add(
        "--data",
        metavar="DIR",
        required=True,
        help="the training images: DIR/train/CLASS/*.jpg, DIR/CLASS/*.jpg, or a .csv file with the "
        "columns file and label",
    )
    add(
        "--model",
        metavar="NAME",
        required=True,
        help="a torchvision classifier such as resnet18; timm:NAME, one of timm's; hf:FOLDER, one "
        "of transformers with its weights; or your own as PACKAGE.MODULE:FACTORY, which is called "
        "with num_classes= if it takes it",
    )
    add(
        "--weights",
        metavar="FILE",
        help="the trained model's state dict, .pt, .pth or .safetensors; not with hf:FOLDER",
    )


def add_score(add: _Add) -> None:
    """What ranks."""
    add(
        "--score",
        metavar="NAME",
        help="what ranks and is mapped: influence, the cosine with curvature, which is fitted to "
        "at most 2,000 training images first; grad-cos (the paper's), or grad-dot, which need no "
        "fit; tracin, grad-dot at several checkpoints; or representer, of a refitted last layer "
        "(default: influence)",
    )
    add(
        "--checkpoints",
        metavar="FILE",
        nargs="+",
        help="of --score tracin: the model's state dicts along its training",
    )
    add(
        "--learning-rates",
        metavar="N",
        nargs="+",
        type=float,
        help="of --score tracin: one for each checkpoint, or one for all (default: 1)",
    )
    add(
        "--ensemble",
        metavar="FILE",
        nargs="+",
        help="state dicts of the same model from other trainings: the score is the mean over all "
        "of them, so what one training owes to chance counts less; the maps, too",
    )
    add(
        "--curvature",
        metavar="FILE",
        help="of --score influence: where the fitted curvature is kept, .safetensors; it is read "
        "from there if there is one",
    )
    add(
        "--index",
        metavar="DIR",
        help="an index of the training images, from captum-tfa index build, with the same "
        "--checkpoints or --ensemble if there are any: the ranking takes a moment, and the scores "
        "shown are exact all the same",
    )


def add_computing(add: _Add) -> None:
    """How it is computed."""
    add(
        "--nt-samples",
        metavar="N",
        type=whole(1),
        default=50,
        help="points on the path, or noisy copies, that a map is the mean over; occlusion needs "
        "none (default: %(default)s)",
    )
    add(
        "--batch-size",
        metavar="N",
        type=whole(1),
        help="training images at once (default: chosen by their size)",
    )
    add(
        "--device",
        default="auto",
        help="cpu, cuda, cuda:1, mps, or auto: cuda if there is one, else cpu (default: auto)",
    )


def whole(least: int, most: int | None = None) -> Callable[[str], int]:
    """Reads a whole number from ``least`` to ``most``, for argparse."""

    def read(text: str) -> int:
        try:
            value = int(text)
        except ValueError:
            value = least - 1
        if value < least or (most is not None and value > most):
            up = "up" if most is None else f"to {most}"
            raise argparse.ArgumentTypeError(f"{text!r} is not a whole number from {least} {up}")
        return value

    return read


def whole_or_all(text: str) -> int | None:
    """Reads a whole number from 1 up, or ``all``, which is None, for argparse."""
    return None if text == "all" else whole(1)(text)
