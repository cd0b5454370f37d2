"""One builder in one place: locks that go when their process goes, however it ends."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import BinaryIO


@contextmanager
def held_file(path: Path) -> Iterator[BinaryIO]:
    """A file for reading and writing that no other process holds, made if it is not there.

    Raises:
        BlockingIOError: another one holds it.
    """
    with path.open("r+b" if path.exists() else "w+b") as file:
        _lock(file, path.parent)
        yield file


@contextmanager
def the_builder(folder: Path, rank: int, ranks: int) -> Iterator[None]:
    """Nobody else builds in this folder meanwhile, but the other ranks of the same run.

    Args:
        folder: of the index.
        rank: of this process, from 0.
        ranks: how many processes build together.

    Raises:
        BlockingIOError: another run is at work.
    """
    with ExitStack() as stack:
        of_run = stack.enter_context((folder / ".build.lock").open("a+b"))
        _lock(of_run, folder, shared=ranks > 1)
        of_rank = stack.enter_context((folder / f".rank{rank}.lock").open("a+b"))
        _lock(of_rank, folder)
        yield


def _lock(file: BinaryIO, folder: Path, shared: bool = False) -> None:
    import fcntl  # not on every system: an index can be read without it

    try:
        fcntl.flock(file, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
    except BlockingIOError as error:
        raise BlockingIOError(
            f"Another process is building the index in {folder}; wait for it, or stop it. What it "
            "has done so far stays."
        ) from error
