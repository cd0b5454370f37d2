"""XtrAIn: occlusion of the weights, along the training [lymperopoulos2026xtrain].

Occlusion of an input needs something to put in a feature's place. Here the feature stays, and the
weights that multiply it are put back to what they were before an update.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from captum_tfa.attr.along_training.entrances import Entrance
from captum_tfa.attr.along_training.occluding import occluded
from captum_tfa.attr.along_training.opened import Opened
from captum_tfa.attr.along_training.question import Question
from captum_tfa.attr.along_training.recording import Recording
from captum_tfa.attr.along_training.walk import (
    AlongTraining,
    Attributions,
    needs_every_step,
    needs_two_states,
)
from captum_tfa.trajectory import Trajectory


class XtrAIn(AlongTraining):
    """``Σ_t (φ_i + φ'_i) / 2``: what the updates of a feature's own weights did to an output.

    With ``θ, θ'`` before and after an update, ``φ_i = f(x; θ') − f(x; θ' with feature i's weights
    of θ)`` and ``φ'_i = f(x; θ with feature i's weights of θ') − f(x; θ)``. A feature's weights are
    those of the first layer that multiply it. Where many features share a weight (convolutions,
    patch embeddings; own extension), it is the layer's response to that feature that is swapped:
    ``A_t (x − x_i e_i) + A_{t+1} x_i e_i``, which is the same for a fully connected layer.

    Walking backwards along the trajectory negates every attribution. They do not sum to
    ``f(x; θ_T) − f(x; θ_0)``: the later layers learn too, and swaps do not add up
    (`IntegratedXtrAIn` does).

    The first layer is computed once a state; a step costs two passes of the *rest* of the model
    for each feature, and none for a feature that is 0 or whose weights did not change.

    Supported are models in which each input enters one layer, once: ``Linear`` (also one applied at
    every place of a sequence) or ``Conv1d`` to ``Conv3d``, with what moves numbers about or changes
    each for itself before it. All others are refused: a model whose input reaches two layers, or
    skips the first; a norm layer, an embedding, recurrent layers, attention or weights of their own
    making first; features that are mixed before. Source: [lymperopoulos2026xtrain]_.

    Args:
        model: the model, in evaluation mode. Which weights it has now does not matter.
        trajectory: the states of its training, every one or at equal distances.

    Raises:
        TypeError: no module, or no trajectory.
        ValueError: a trajectory of one state, or with a gap.

    Example::

        >>> xtrain = XtrAIn(model, Trajectory.open("states"))
        >>> xtrain.attribute(images, target=labels)  # the shape of images
    """

    def __init__(self, model: nn.Module, trajectory: Trajectory) -> None:
        super().__init__(model, trajectory)
        needs_two_states(trajectory)
        needs_every_step(trajectory)

    def of_step(
        self,
        model: Opened,
        found: list[Entrance],
        question: Question,
        before: Mapping[str, Tensor],
        after: Mapping[str, Tensor],
        at_once: int | None,
    ) -> tuple[Tensor, ...]:
        """The mean of forward and reverse swap."""
        effects = occluded(model, found, question, before, after, at_once)
        return tuple(self.kept(effect) for effect in effects)

    @staticmethod
    def kept(effect: Tensor) -> Tensor:
        """What of a step's effects is summed: all of them."""
        return effect

    @classmethod
    def recording(
        cls,
        model: nn.Module,
        optimizer: torch.optim.Optimizer,
        inputs: Attributions,
        target: Any = None,
        additional_forward_args: Any = None,
        feature_mask: Any = None,
        internal_batch_size: int | None = None,
    ) -> Recording:
        """Attributions of chosen inputs that add up while training runs; no state is stored.

        Args:
            model: the model in training, in whatever mode; it is looked at as in evaluation mode.
            optimizer: whose steps are the updates. The training's own numbers are the same.
            inputs: as for `attribute`; likewise the others.
            target: likewise.
            additional_forward_args: likewise.
            feature_mask: likewise.
            internal_batch_size: likewise.

        Returns:
            A context manager, whose ``attributions`` are those up to now.

        Raises:
            TypeError: no optimizer; otherwise as `attribute`.
            ValueError: as `attribute`.

        Example::

            >>> with XtrAIn.recording(model, optimizer, images, labels) as recorded:
            ...     train(model, optimizer)
            >>> recorded.attributions
        """
        method = cls.__new__(cls)
        AlongTraining.__init__(method, model, Trajectory([model.state_dict()]))
        asked = (inputs, target, additional_forward_args, feature_mask)
        return Recording(method, optimizer, asked, internal_batch_size)
