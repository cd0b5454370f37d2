"""``captum-tfa index``: look at the training set once, in one process or in many."""

from __future__ import annotations

import argparse
import datetime
import os
from collections.abc import Iterator
from contextlib import contextmanager

import torch
import torch.distributed as dist
from torch import nn

from captum_tfa.cli import data, models
from captum_tfa.cli.errors import UserError, as_user_error, own_errors
from captum_tfa.cli.model_libraries import check_class_order
from captum_tfa.cli.output import say
from captum_tfa.index import GradientIndex
from captum_tfa.index.processes import join_processes
from captum_tfa.scores import GradDotScore

# Ranks with less to do wait for the others at the end.
_PATIENCE = datetime.timedelta(days=7)


def run(options: argparse.Namespace) -> None:
    """Does what the options say.

    Raises:
        UserError: Something that the user can put right.
    """
    with as_user_error(OSError), own_errors():
        if options.action == "build":
            _build(options)
        elif options.action == "info":
            say(GradientIndex.open(options.folder).info())
        else:
            found = GradientIndex.open(options.folder)
            found.verify()
            say(f"all is right with the {len(found):,} training examples in {found.folder}")


def _build(options: argparse.Namespace) -> None:
    device = models.choose_device(_device_of_rank(options.device))
    root = data.training_root(options.data)
    classes = data.find_classes(root)
    model, preprocess = models.build(options.model, len(classes))
    models.weights_into(model, options.model, options.weights)
    check_class_order(model, classes)
    model.to(device).eval()
    training_set = data.open_folder(root, classes, preprocess)
    one_logit = models.check_runs(model, training_set[0][0], len(classes))
    loss_fn = nn.BCEWithLogitsLoss(reduction="none") if one_logit else None
    with _among_processes(device):
        index = GradientIndex.build(
            GradDotScore(model, options.loss or loss_fn),
            training_set,
            options.folder,
            options.dimension,
            options.batch_size or _batch_size(training_set[0][0]),
            options.num_workers,
            show_progress=True,
        )
    if int(os.environ.get("RANK", 0)) == 0:
        say(index.info())


def _device_of_rank(name: str) -> str:
    """Every process of a machine takes a GPU of its own."""
    local = os.environ.get("LOCAL_RANK")
    if local is None or name not in ("auto", "cuda") or not torch.cuda.is_available():
        return name
    return f"cuda:{int(local) % torch.cuda.device_count()}"


@contextmanager
def _among_processes(device: torch.device) -> Iterator[None]:
    """In the process group that torchrun asks for, if it started this process."""
    if int(os.environ.get("WORLD_SIZE", 1)) < 2:
        yield
        return
    if device.type == "cuda":
        torch.cuda.set_device(device)
    try:
        join_processes("nccl" if device.type == "cuda" else "gloo", _PATIENCE)
    except (RuntimeError, ValueError) as error:
        raise UserError(
            f"WORLD_SIZE is {os.environ['WORLD_SIZE']}, but the processes do not find each other "
            f"({error}); start them with torchrun"
        ) from error
    try:
        yield
    finally:
        dist.destroy_process_group()


def _batch_size(image: torch.Tensor) -> int:
    """As many images as take the memory of 64 of 64 x 64 pixels, within [8, 64]."""
    return max(8, min(64, 64 * 64 * 64 // image[0].numel()))
