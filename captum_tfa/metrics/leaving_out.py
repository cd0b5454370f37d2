"""What does leaving out a training example, or a group of them, do to the answers?

``effect(g, q) = output of q, trained on everything − output of q, trained without g``: above 0 the
group helps, as a score above 0 says. Both models have the same seed, so chance differs less; what
chance is left is the standard error over seeds. The effect of one example among many is small
beside it, which is why groups, or random halves (see `linear_datamodelling_score`), say more.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from captum_tfa.metrics.subsets import Retrained


@dataclass(frozen=True)
class LeavingOut:
    """The effects of groups of training examples.

    Attributes:
        groups: What was left out, boolean ``[G, N]``.
        effects: Of each on each query, the mean over seeds, ``[G, Q]``, float64.
        errors: Standard error of each mean over seeds, ``[G, Q]``; NaN for one seed.
        seeds: How many seeds both models had, for each group, ``[G]``.
    """

    groups: Tensor
    effects: Tensor
    errors: Tensor
    seeds: Tensor


def leaving_out(retrained: Retrained) -> LeavingOut:
    """The effects of leaving out, from models trained with `leave_groups_out`.

    Args:
        retrained: Among its rows must be models trained on everything; every other row with a
            seed that has one is a group left out.

    Raises:
        ValueError: No model of everything, or no other one with its seed.
    """
    whole = retrained.members.all(1)
    of_everything = {
        int(seed): outputs
        for seed, outputs in zip(retrained.seeds[whole], retrained.outputs[whole], strict=True)
    }
    rows = [
        row
        for row in range(len(whole))
        if not whole[row] and int(retrained.seeds[row]) in of_everything
    ]
    if not rows:
        raise ValueError(
            f"{int(whole.sum())} of {len(whole)} models were trained on everything, and none on "
            "less with the same seed; train those of leave_groups_out() with the same seeds"
        )
    changes = torch.stack(
        [of_everything[int(retrained.seeds[row])] - retrained.outputs[row] for row in rows]
    ).double()
    groups, place = (~retrained.members[rows]).unique(dim=0, return_inverse=True)
    parts = [changes[place == group] for group in range(len(groups))]
    return LeavingOut(
        groups=groups,
        effects=torch.stack([part.mean(0) for part in parts]),
        errors=torch.stack([_error(part) for part in parts]),
        seeds=torch.tensor([len(part) for part in parts]),
    )


def _error(part: Tensor) -> Tensor:
    """The standard error of the mean over the first dimension."""
    if len(part) == 1:
        return torch.full_like(part[0], torch.nan)
    error: Tensor = part.std(0) / len(part) ** 0.5
    return error
