"""Models trained on parts of a training set: random subsets, or all but one group.

This is what the linear datamodelling score and leaving out are measured on. Each model's members,
seed and outputs are kept in a folder as they come, see `retrain_each`.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import Dataset, Subset

from captum_tfa.metrics.fresh_start import Train
from captum_tfa.metrics.retraining import Change, Measure, read_runs, retrain_each


@dataclass(frozen=True)
class Retrained:
    """What models said that were trained on parts of a training set, one row a model.

    Attributes:
        members: Which training examples a model was trained on, boolean ``[R, N]``.
        seeds: The seed of each training, ``[R]``.
        outputs: What each says of each test image, ``[R, Q]``, float64; higher is more of the
            label.
    """

    members: Tensor
    seeds: Tensor
    outputs: Tensor

    def __post_init__(self) -> None:
        """Refuses sides that do not fit each other."""
        rows = len(self.members)
        fits = self.members.dim() == self.outputs.dim() == 2 and list(self.seeds.shape) == [rows]
        if not fits or len(self.outputs) != rows or rows == 0 or self.members.dtype != torch.bool:
            raise ValueError(
                f"members are {self.members.dtype} {list(self.members.shape)}, seeds "
                f"{list(self.seeds.shape)}, outputs {list(self.outputs.shape)}; give boolean "
                "[R, N], [R] and [R, Q] with at least one row"
            )
        if not bool(torch.isfinite(self.outputs).all()):
            raise ValueError(
                f"{int((~torch.isfinite(self.outputs)).sum())} outputs are not finite; look at "
                "these trainings before comparing"
            )

    def over_seeds(self) -> tuple[Tensor, Tensor]:
        """The mean over seeds for each set of members: members ``[M, N]``, outputs ``[M, Q]``."""
        members, place = self.members.unique(dim=0, return_inverse=True)
        total = torch.zeros(len(members), self.outputs.shape[1], dtype=torch.double)
        total.index_add_(0, place, self.outputs.double())
        return members, total / place.bincount(minlength=len(members)).unsqueeze(1)


def random_subsets(count: int, subsets: int, fraction: float = 0.5, seed: int = 0) -> Tensor:
    """Random halves of a training set, or other parts: what a datamodelling score takes.

    Args:
        count: Training examples, N.
        subsets: How many subsets, M, at least 1. More subsets only add to those of fewer.
        fraction: The part α of the training set in each, in (0, 1): ``round(α N)`` examples, drawn
            without replacement. Default 0.5.
        seed: Seed of the draws.

    Returns:
        Members, boolean ``[M, N]``.

    Raises:
        ValueError: Fewer than one subset, or a part that holds no example, or all.
    """
    size = int(fraction * count + 0.5)
    if subsets < 1 or not 0 < size < count:
        raise ValueError(
            f"{subsets} subsets with {fraction} of {count} training examples ({size}); give at "
            "least 1 subset, and a fraction that takes some but not all, e.g. 0.5"
        )
    generator = torch.Generator().manual_seed(seed)
    members = torch.zeros(subsets, count, dtype=torch.bool)
    for row in members:
        row[torch.randperm(count, generator=generator)[:size]] = True
    return members


def leave_groups_out(count: int, groups: Sequence[Tensor]) -> Tensor:
    """Everything, and everything without each of some groups: leave-one-out, leave-group-out.

    Args:
        count: Training examples, N.
        groups: Indices of each group to leave out, ``[g]`` each; of one example for leave-one-out,
            as in ``torch.arange(20).split(1)``.

    Returns:
        Members, boolean ``[1 + groups, N]``; the first row holds everything.

    Raises:
        ValueError: No group, one without members or with all, or an index out of range.
    """
    members = torch.ones(1 + len(groups), count, dtype=torch.bool)
    for row, group in zip(members[1:], groups, strict=True):
        if len(group) and not 0 <= int(group.min()) <= int(group.max()) < count:
            raise ValueError(
                f"a group holds indices from {int(group.min())} to {int(group.max())}; they must "
                f"lie in 0 to {count - 1}"
            )
        row[group] = False
    sizes = members.sum(1)[1:]
    if not groups or int(sizes.min()) == 0 or int(sizes.max()) == count:
        raise ValueError(
            f"there are {len(groups)} groups, and they leave {sizes.tolist()} of {count} examples; "
            "give at least one, each with some examples but not all"
        )
    return members


def retrain_subsets(
    train: Train,
    dataset: Dataset[Any],
    members: Tensor,
    measure: Measure,
    directory: str | os.PathLike[str],
    *,
    seeds: Sequence[int] = (0,),
    settings: Mapping[str, Any] | None = None,
    show_progress: bool = False,
) -> Retrained:
    """Trains a model from scratch on each subset with each seed, and keeps what it says.

    A model takes as long as ``train`` does: 50 subsets with 2 seeds are 100 trainings, and the
    check of their beginnings takes none (two more where no module is seen to be trained, see
    `captum_tfa.metrics.fresh_start`). Those that the folder has are not done again.

    Args:
        train: ``train(subset, seed) -> model``, the user's. It makes a new model, trains it on
            the ``Subset`` (whose ``.indices`` are the members), and gives it back in evaluation
            mode. Random numbers are seeded before each call and go on as before after it.
        dataset: The whole training set, map-style, N examples.
        members: Of each subset, boolean ``[M, N]``; see `random_subsets`, `leave_groups_out`.
        measure: From a model to one number a test image, ``[Q]``; see `MeasuredOutput`.
        directory: Where each model's members, outputs and settings are kept; of this experiment
            alone.
        seeds: Seeds of training: all subsets with the first, then all with the second, ...
        settings: What else the results depend on (data, network, epochs, ...), as JSON holds it.
            A folder of other settings is refused. The number of training examples and the
            settings of a `MeasuredOutput` are noted unasked.
        show_progress: Show a progress bar over the trainings.

    Returns:
        What all of these models say.

    Raises:
        ValueError: Members of another shape, no seed, a folder of another experiment, a training
            that does not begin afresh, a model in training mode, outputs that are not finite
            ``[Q]``.
        TypeError: ``train`` gives back no module.
    """
    count = len(dataset)  # type: ignore[arg-type]
    if members.dtype != torch.bool or members.dim() != 2 or members.shape[1] != count:
        raise ValueError(
            f"members are {members.dtype} {list(members.shape)}; give boolean [M, {count}], a "
            "column for each training example"
        )
    digits = len(str(len(members) - 1))
    changes = {
        f"subset {place:0{digits}d}": Change(
            Subset(dataset, row.nonzero().flatten().tolist()), {"members": row}
        )
        for place, row in enumerate(members.cpu())
    }
    told = {"examples": count, **(settings or {})}
    found = retrain_each(
        train,
        changes,
        measure,
        directory,
        seeds=seeds,
        settings=told,
        show_progress=show_progress,
    )
    outputs = torch.cat([found[name] for name in changes])
    return Retrained(
        members.cpu().repeat_interleave(len(seeds), 0),
        torch.tensor(list(seeds)).repeat(len(members)),
        outputs,
    )


def read_retrained(directory: str | os.PathLike[str]) -> Retrained:
    """What the models of `retrain_subsets` said so far, also while it runs or after it was killed.

    Raises:
        FileNotFoundError: No such folder.
        ValueError: There is no model yet, or a file is broken.
    """
    runs = [run for _, _, run in read_runs(directory)]
    if not runs or "members" not in runs[0].tensors:
        raise ValueError(f"{directory} holds no model of retrain_subsets yet")
    return Retrained(
        torch.stack([run.tensors["members"] for run in runs]),
        torch.tensor([run.facts["seed"] for run in runs]),
        torch.stack([run.tensors["outputs"] for run in runs]),
    )
