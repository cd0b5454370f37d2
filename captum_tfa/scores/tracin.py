"""TracIn: grad-dot at several times of the training, weighted by the steps [pruthi2020estimating].

To first order it is what the steps on a training example did to the loss of the test example,
summed over the training, as far as the checkpoints show it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Generator, Mapping, Sequence
from pathlib import Path

import torch
from torch import Tensor, nn

from captum_tfa.gradients.locks import model_lock
from captum_tfa.gradients.losses import LossFn, OutputFn
from captum_tfa.gradients.selection import ParameterChoice
from captum_tfa.scores.captum_hooks import refuse_layer_methods
from captum_tfa.scores.grad_dot import GradDotScore
from captum_tfa.scores.score import Score
from captum_tfa.scores.sum_of_scores import SumOfScores
from captum_tfa.trajectory import Trajectory
from captum_tfa.trajectory.at_state import at_state
from captum_tfa.trajectory.state_files import check_fits, read_state

Checkpoint = Mapping[str, Tensor] | str | Path | Callable[[], Mapping[str, Tensor]]


class TracInScore(SumOfScores):
    """``S = Σ_c η_c ⟨g_train(θ_c), g_test(θ_c)⟩`` over checkpoints ``c``.

    Checkpoints are read one at a time, whenever they are needed. While one is at work, its tensors
    stand in the place of the model's own, which are never written to: the model's hooks fire once
    for each checkpoint, and see its numbers, so Captum's own layer methods, which read one pass,
    are refused (`LayerTrainingGradient` adds up the maps of all). Without a label the model itself,
    as it is, says what is asked. Source: [pruthi2020estimating]_.

    Args:
        model: the trained model, as for `Score`.
        checkpoints: states of the model, at least one: state dicts, files of them (``.pt`` with
            tensors alone, ``.safetensors``), or functions that return a state dict; or a
            `Trajectory`.
        learning_rates: ``η_c``, one for each checkpoint, or one for all.
        loss_fn: as for `Score`; likewise ``output_fn``, ``parameters``.
        measure_fn: as for `Score`.

    Raises:
        TypeError: a checkpoint is none of these; otherwise as `Score`.
        ValueError: no checkpoint, learning rates that do not match or are not finite. When it is
            read: a file that is broken, or a state of another model.

    Example::

        >>> score = TracInScore(model, ["epoch1.pt", "epoch2.pt"], learning_rates=[0.1, 0.01])
        >>> TrainingGradient(score).attribute(train_image, label, test_image)
    """

    name = "TracIn"

    def __init__(
        self,
        model: nn.Module,
        checkpoints: Sequence[Checkpoint] | Trajectory,
        learning_rates: float | Sequence[float] = 1.0,
        loss_fn: LossFn | str | None = None,
        output_fn: OutputFn | None = None,
        parameters: ParameterChoice = None,
        measure_fn: LossFn | str | None = None,
    ) -> None:
        super().__init__(model, loss_fn, output_fn, parameters, measure_fn)
        if isinstance(checkpoints, Trajectory):
            checkpoints = checkpoints.states
        if isinstance(checkpoints, str | Path | Mapping) or callable(checkpoints):
            checkpoints = [checkpoints]
        self.checkpoints = list(checkpoints)
        if not self.checkpoints:
            raise ValueError("checkpoints is empty; give at least one state of the model.")
        for checkpoint in self.checkpoints:
            if not (isinstance(checkpoint, str | Path | Mapping) or callable(checkpoint)):
                raise TypeError(
                    f"checkpoints holds a {type(checkpoint).__name__}; give state dicts, files "
                    "(.pt, .safetensors) or functions that return a state dict."
                )
        self.learning_rates = _rates(learning_rates, len(self.checkpoints))
        self._part = GradDotScore(model, loss_fn, output_fn, self.choice, measure_fn)

    def parts(self) -> Generator[tuple[float, Score], None, None]:
        """Grad-dot at each checkpoint, weighted by its learning rate."""
        for number, checkpoint in enumerate(self.checkpoints):
            state = self._state(checkpoint, number)
            with model_lock(self.model), at_state(self.model, state):
                del state
                yield self.learning_rates[number], self._part

    def _ready(self) -> torch.device:
        refuse_layer_methods(self)
        return super()._ready()

    def _state(self, checkpoint: Checkpoint, number: int) -> Mapping[str, Tensor]:
        source = f"checkpoint {number}"
        if isinstance(checkpoint, str | Path):
            state: Mapping[str, Tensor] = read_state(checkpoint)
            source = str(checkpoint)
        else:
            state = checkpoint() if callable(checkpoint) else checkpoint
        if not isinstance(state, Mapping):
            raise TypeError(f"{source} gave a {type(state).__name__}; it must give a state dict.")
        check_fits(state, self.model, source)
        return state


def _rates(given: float | Sequence[float], count: int) -> list[float]:
    """A learning rate for each checkpoint."""
    rates = [float(given)] * count if isinstance(given, int | float) else [*map(float, given)]
    if len(rates) != count:
        raise ValueError(
            f"{len(rates)} learning rates came for {count} checkpoints; give one for each, or one "
            "for all."
        )
    if not all(math.isfinite(rate) for rate in rates):
        raise ValueError(f"learning_rates holds {rates}; they must be finite.")
    return rates
