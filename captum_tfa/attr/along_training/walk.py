"""What the methods along a training have in common: one walk along its states."""

from __future__ import annotations

from collections.abc import Generator, Mapping
from typing import Any

import torch
from captum.attr import Attribution
from captum.log import log_usage
from torch import Tensor, nn
from tqdm.auto import tqdm

from captum_tfa.attr.along_training.entrances import Entrance, entrances
from captum_tfa.attr.along_training.opened import Opened, device_of, opened
from captum_tfa.attr.along_training.question import Question, question_of
from captum_tfa.trajectory import Trajectory
from captum_tfa.trajectory.state_files import check_fits
from captum_tfa.trajectory.trajectory import gap

Attributions = Tensor | tuple[Tensor, ...]


class AlongTraining(Attribution):  # type: ignore[misc]
    """A sum over the steps of a training of what each step did through each feature.

    A subclass says what one step did (`of_step`).
    """

    def __init__(self, model: nn.Module, trajectory: Trajectory) -> None:
        if not isinstance(model, nn.Module):
            raise TypeError(f"model is a {type(model).__name__}; it must be a torch.nn.Module.")
        if not isinstance(trajectory, Trajectory):
            raise TypeError(
                f"trajectory is a {type(trajectory).__name__}; give a Trajectory(states) or a "
                "Trajectory.open(folder)."
            )
        super().__init__(model)
        self.model, self.trajectory = model, trajectory

    def of_step(
        self,
        model: Opened,
        found: list[Entrance],
        question: Question,
        before: Mapping[str, Tensor],
        after: Mapping[str, Tensor],
        at_once: int | None,
    ) -> tuple[Tensor, ...]:
        """What one step did, ``[B, n]`` for the features or groups of each input."""
        raise NotImplementedError

    @log_usage()  # type: ignore[untyped-decorator]
    def attribute(
        self,
        inputs: Attributions,
        target: Any = None,
        additional_forward_args: Any = None,
        feature_mask: Any = None,
        internal_batch_size: int | None = None,
        show_progress: bool = False,
    ) -> Attributions:
        """Attributions of inputs, summed over the steps.

        Args:
            inputs: what is explained, ``[B, ...]``; a tuple for models with several inputs.
            target: which output counts, as Captum takes it: a number, ``[B]``, or tuples of indices
                for outputs of more dimensions. It can be left out for a model with one output.
            additional_forward_args: further arguments of the model, which are not attributed.
                Tensors with as many rows as the inputs go along with them.
            feature_mask: groups of features that are swapped together (superpixels, channels,
                windows): whole numbers of the shape of the inputs, or with 1 where it is the same
                all along, as in Captum's ``FeatureAblation``; a tuple for several inputs. Each
                feature then gets what its group got. ``None``: each feature by itself.
            internal_batch_size: rows in one pass of the model; memory grows with it. ``None``: as
                many as keep the inputs and first responses below 4 million numbers.
            show_progress: a progress bar over the steps.

        Returns:
            Attributions of the shape of ``inputs``; a tuple if ``inputs`` is one.

        Raises:
            TypeError: inputs, target or masks of the wrong type; a model that returns no tensor.
            ValueError: shapes that do not match; a state of another model, or broken; a model that
                none of the definitions fits.
        """
        total: list[Tensor] | None = None
        asked = (inputs, target, additional_forward_args, feature_mask, internal_batch_size)
        for parts in self._each_step(*asked, show_progress):
            total = (
                [*parts] if total is None else [a + b for a, b in zip(total, parts, strict=True)]
            )
        assert total is not None
        return tuple(total) if isinstance(inputs, tuple | list) else total[0]

    def steps(
        self,
        inputs: Attributions,
        target: Any = None,
        additional_forward_args: Any = None,
        feature_mask: Any = None,
        internal_batch_size: int | None = None,
        show_progress: bool = False,
    ) -> Generator[Attributions, None, None]:
        """The attributions of each step by itself, in order; their sum is that of `attribute`.

        Args:
            inputs: as for `attribute`; likewise all others.
            target: likewise.
            additional_forward_args: likewise.
            feature_mask: likewise.
            internal_batch_size: likewise.
            show_progress: likewise.

        Yields:
            Attributions of the shape of ``inputs``; a tuple if ``inputs`` is one.
        """
        asked = (inputs, target, additional_forward_args, feature_mask, internal_batch_size)
        for parts in self._each_step(*asked, show_progress):
            yield parts if isinstance(inputs, tuple | list) else parts[0]

    def _each_step(
        self,
        inputs: object,
        target: object,
        additional: object,
        feature_mask: object,
        at_once: int | None,
        show_progress: bool,
    ) -> Generator[tuple[Tensor, ...], None, None]:
        if at_once is not None and (not hasattr(at_once, "__index__") or at_once < 1):
            raise ValueError(f"internal_batch_size is {at_once!r}; it must be at least 1, or None.")
        question = question_of(inputs, target, additional, feature_mask, device_of(self.model))
        with self.progress(show_progress) as bar:
            with torch.inference_mode(False), opened(self.model) as model:
                found = entrances(model, question)
            for before, after in self.states():
                # Between two steps the model is the caller's again.
                with torch.inference_mode(False), opened(self.model) as model:
                    parts = self.of_step(model, found, question, before, after, at_once)
                del before, after
                bar.update()
                yield tuple(question.spread(*part) for part in enumerate(parts))

    def progress(self, shown: bool) -> tqdm[Any]:
        """A bar over the steps."""
        count = len(self.trajectory) - 1
        return tqdm(total=count, desc=type(self).__name__, unit="step", disable=not shown)

    def states(self) -> Generator[tuple[Mapping[str, Tensor], Mapping[str, Tensor]], None, None]:
        """Neighbouring states that fit the model."""
        for step in self.trajectory.pairs():
            if step.number == 0:
                check_fits(step.before, self.model, step.names[0])
            check_fits(step.after, self.model, step.names[1])
            states = step.before, step.after
            del step
            yield states
            del states


def needs_two_states(trajectory: Trajectory) -> None:
    """Raise unless a trajectory has a step.

    Raises:
        ValueError: it has one state only.
    """
    if isinstance(trajectory, Trajectory) and len(trajectory) < 2:
        raise ValueError("The trajectory has one state only; an update lies between two.")


def needs_every_step(trajectory: Trajectory) -> None:
    """Raise if states of a trajectory are missing.

    Raises:
        ValueError: its states are not equally far apart.
    """
    missing = gap(trajectory.steps)
    if missing:
        raise ValueError(
            f"The trajectory has a gap: {missing}. Give every state, or take those that there are "
            "with Xstep(model, trajectory, trajectory.steps)."
        )
