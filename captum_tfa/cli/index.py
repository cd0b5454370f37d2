"""``captum-tfa index``: look at the training set once, in one process or in many."""

from __future__ import annotations

import argparse
import datetime
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch
import torch.distributed as dist

from captum_tfa.cli import data, models
from captum_tfa.cli.errors import UserError, as_user_error, own_errors
from captum_tfa.cli.opened import loss_of, opened
from captum_tfa.cli.output import say
from captum_tfa.index import GradientIndex, build_parts
from captum_tfa.index.parts import open_folder
from captum_tfa.index.processes import join_processes
from captum_tfa.scores import SumOfScores

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
        else:
            found = open_folder(options.folder)
            if options.action == "info":
                _say_what(found)
            else:
                _verify(found)


def _say_what(indices: Sequence[GradientIndex]) -> None:
    say("\n".join(index.info() for index in indices))


def _verify(indices: Sequence[GradientIndex]) -> None:
    """Checks them all, and says so.

    Raises:
        ValueError: There is something wrong with some; the problems of each are named.
    """
    problems = []
    for index in indices:
        try:
            index.verify()
        except ValueError as error:
            problems.append(str(error))
    if problems:
        raise ValueError(" ".join(problems))
    for index in indices:
        say(f"all is right with the {len(index):,} training examples in {index.folder}")


def _build(options: argparse.Namespace) -> None:
    device = models.choose_device(_device_of_rank(options.device))
    root = data.training_root(options.data)
    classes = data.find_classes(root)
    given = opened(options, device, root, classes)
    image = given.training_set[0][0]
    loss_fn = loss_of(models.check_runs(given.model, image, len(classes)))
    asked = "tracin" if options.checkpoints else "grad-dot"
    score = given.plain_score(options, options.loss or loss_fn, asked)
    settings = {
        "dimension": options.dimension,
        "batch_size": options.batch_size or _batch_size(image),
        "num_workers": options.num_workers,
        "show_progress": True,
    }
    with _among_processes(device):
        if isinstance(score, SumOfScores):
            built = build_parts(score, given.training_set, options.folder, **settings)
        else:
            built = [GradientIndex.build(score, given.training_set, options.folder, **settings)]
    if int(os.environ.get("RANK", 0)) == 0:
        _say_what(built)


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
