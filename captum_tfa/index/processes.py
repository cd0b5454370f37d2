"""How processes that build an index together find each other, also when one starts again."""

from __future__ import annotations

import os
from datetime import timedelta

import torch.distributed as dist


def join_processes(backend: str, timeout: timedelta) -> None:
    """Make the process group that ``torchrun`` asks for.

    Of each attempt the addresses are kept apart: ``torchrun`` may keep its store, and processes
    that it starts again would look for those that died.

    Args:
        backend: ``"gloo"`` or ``"nccl"``.
        timeout: how long the processes wait for each other.

    Raises:
        RuntimeError: they do not find each other.
        ValueError: the environment is not the one that ``torchrun`` sets.
    """
    store, rank, size = next(dist.rendezvous("env://", timeout=timeout))  # type: ignore[attr-defined]
    attempt = os.environ.get("TORCHELASTIC_RESTART_COUNT", "0")
    own = dist.PrefixStore(f"attempt {attempt}", store)  # type: ignore[attr-defined]
    dist.init_process_group(backend, store=own, rank=rank, world_size=size, timeout=timeout)
