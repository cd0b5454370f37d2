"""A process that builds the tests' index: ``python -m tests.index.builder FOLDER COUNT DELAY``.

Under torchrun it is one of several. ``DIE_ONCE`` names a file: the last rank then makes it and dies
in the middle of its work, if it was not there yet. ``PARTS`` makes it the indices of a sum.
"""

from __future__ import annotations

import os
import signal
import sys
from datetime import timedelta
from pathlib import Path

import torch.distributed as dist
from torch import Tensor

from captum_tfa.index.processes import join_processes
from tests.index.small import BATCH, Counted, build, build_sum


class _Deadly(Counted):
    """Kills its process at its tenth example."""

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        if len(self.asked) == 16 + 2 * BATCH + 2:  # 16 for the sample
            os.kill(os.getpid(), signal.SIGKILL)
        return super().__getitem__(index)


def main() -> None:
    """Build, in a process group if torchrun started it."""
    folder, count, delay = Path(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3])
    kind: type[Counted] = Counted
    if "RANK" in os.environ:
        join_processes("gloo", timedelta(minutes=5))
        once = os.environ.get("DIE_ONCE")
        last = dist.get_rank() == dist.get_world_size() - 1
        if once and last and not Path(once).exists():
            Path(once).touch()
            kind = _Deadly
    make = build_sum if "PARTS" in os.environ else build
    make(kind(count, delay), folder)
    if dist.is_initialized():
        dist.destroy_process_group()


if __name__ == "__main__":
    main()
