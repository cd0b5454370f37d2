"""Attributions along a training that add up while it runs: nothing is stored."""

from __future__ import annotations

from collections.abc import Mapping
from types import TracebackType
from typing import Any

import torch
from torch import Tensor

from captum_tfa.attr.along_training.entrances import entrances
from captum_tfa.attr.along_training.opened import device_of, opened
from captum_tfa.attr.along_training.question import question_of
from captum_tfa.attr.along_training.walk import AlongTraining, Attributions


class Recording:
    """One hook on an optimizer that adds what each of its steps did; see `XtrAIn.recording`.

    Attributes:
        made: how many steps were seen.
    """

    def __init__(
        self,
        method: AlongTraining,
        optimizer: torch.optim.Optimizer,
        asked: tuple[Any, Any, Any, Any],
        at_once: int | None,
    ) -> None:
        if not isinstance(optimizer, torch.optim.Optimizer):
            raise TypeError(
                f"optimizer is a {type(optimizer).__name__}; it must be a torch.optim.Optimizer."
            )
        if at_once is not None and (not hasattr(at_once, "__index__") or at_once < 1):
            raise ValueError(f"internal_batch_size is {at_once!r}; it must be at least 1, or None.")
        self._method, self._at_once = method, at_once
        self._several = isinstance(asked[0], tuple | list)
        self._question = question_of(*asked, device_of(method.model))
        with opened(method.model, in_training=True) as model:
            self._found = entrances(model, self._question)
        self._total = [tensor.new_zeros(tensor.shape) for tensor in self._question.inputs]
        self._before = self._state()
        self.made = 0
        self._hook = optimizer.register_step_post_hook(self._after_step)

    @property
    def attributions(self) -> Attributions:
        """The attributions of the steps up to now, in the shape of the inputs."""
        copies = tuple(tensor.clone() for tensor in self._total)
        return copies if self._several else copies[0]

    def close(self) -> None:
        """Ends the recording; the optimizer is as before."""
        self._hook.remove()

    def __enter__(self) -> Recording:
        """Itself."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Ends it, also after an exception of the training."""
        self.close()

    def _after_step(self, *_: Any) -> None:
        after = self._state()
        with opened(self._method.model, in_training=True) as model:
            parts = self._method.of_step(
                model, self._found, self._question, self._before, after, self._at_once
            )
        self._before = after
        self.made += 1
        for number, part in enumerate(parts):
            self._total[number] += self._question.spread(number, part)

    def _state(self) -> Mapping[str, Tensor]:
        own = self._method.model.state_dict()
        return {name: tensor.detach().clone() for name, tensor in own.items()}
