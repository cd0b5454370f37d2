"""What an audit has worked out so far, so that one that was stopped goes on."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from typing import Any

from torch import Tensor

from captum_tfa.metrics.run_folder import Run, RunFolder


class Progress:
    """Results as they come: each is a small file, written whole or not at all.

    Args:
        folder: New, empty, or of an audit with the same settings that was stopped; None keeps
            nothing.
        settings: All that the results depend on.

    Raises:
        FileExistsError: The folder is a file, or holds something else.
        ValueError: It belongs to an audit with other settings; both sides are shown.
    """

    def __init__(self, folder: str | os.PathLike[str] | None, settings: Mapping[str, Any]) -> None:
        self._runs = None if folder is None else RunFolder(folder, settings)
        self.found = set() if self._runs is None else set(self._runs.names())

    def result(self, name: str, work: Callable[[], Mapping[str, Tensor]]) -> dict[str, Tensor]:
        """What was kept under a name, or else what the work gives, which is kept now.

        Raises:
            ValueError: The file is broken.
        """
        kept: Run | None = self._runs.read(name) if self._runs and name in self.found else None
        if kept is not None:
            return kept.tensors
        made = dict(work())
        if self._runs is not None:
            self._runs.write(name, made, {})
        return made
