"""A file is written whole, or not at all; every folder of this package writes its files so."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

# Of a name so much stands in that of the unfinished file: the system has a limit for names.
_MOST = 100


@contextmanager
def whole_file(target: Path) -> Iterator[Path]:
    """A new place beside a file, whose place it takes when all is written.

    After an exception, also Ctrl-C, what was there before is there still, and nothing else.

    Args:
        target: The file; one that is there is replaced.

    Yields:
        Where to write. The name is hidden and begins with the file's own.
    """
    unfinished = target.with_name(f".{target.name[:_MOST]}.{uuid.uuid4().hex[:12]}.new")
    try:
        yield unfinished
        unfinished.replace(target)
    except BaseException:
        unfinished.unlink(missing_ok=True)
        raise
