"""Xstep: XtrAIn between a few states instead of all of them [lymperopoulos2026xtrain]."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from torch import Tensor, nn

from captum_tfa.attr.along_training.entrances import Entrance
from captum_tfa.attr.along_training.occluding import occluded
from captum_tfa.attr.along_training.opened import Opened
from captum_tfa.attr.along_training.question import Question
from captum_tfa.attr.along_training.walk import AlongTraining
from captum_tfa.trajectory import Trajectory


class Xstep(AlongTraining):
    """`XtrAIn` with a few chosen states: as much cheaper as there are fewer of them.

    With all steps it is `XtrAIn`, with the first and the last it looks at the whole training as one
    update. Source: [lymperopoulos2026xtrain]_.

    Args:
        model: as for `XtrAIn`.
        trajectory: the states; they may be any distance apart.
        steps: which of them, by their step numbers, in the trajectory's order, at least two; or
            one whole number ``k``: every ``k``-th state, and the last.

    Raises:
        TypeError: as `XtrAIn`.
        ValueError: fewer than two steps, steps out of order, or one of which there is no state.
    """

    def __init__(
        self, model: nn.Module, trajectory: Trajectory, steps: Sequence[int] | int
    ) -> None:
        super().__init__(model, trajectory)
        if isinstance(steps, int):
            if steps < 1:
                raise ValueError(f"steps is {steps}; every how many states? It must be at least 1.")
            chosen = trajectory.steps[::steps]
            last = trajectory.steps[-1]
            steps = chosen if chosen[-1] == last else [*chosen, last]
        if len(steps) < 2:
            raise ValueError(f"steps is {list(steps)}; an update lies between two at least.")
        self.trajectory = trajectory.only(steps)

    def of_step(
        self,
        model: Opened,
        found: list[Entrance],
        question: Question,
        before: Mapping[str, Tensor],
        after: Mapping[str, Tensor],
        at_once: int | None,
    ) -> tuple[Tensor, ...]:
        """The mean of forward and reverse swap between two chosen states."""
        return occluded(model, found, question, before, after, at_once)
