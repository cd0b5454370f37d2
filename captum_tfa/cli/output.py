"""What the command says: never a reason to lose what it has worked for.

A console may not know the letters of a file name, and a reader such as ``head`` may be gone before
all is said. Neither is worth a traceback, and neither may keep a result from being saved.
"""

from __future__ import annotations

import os
import sys
from typing import TextIO


def say(text: str, file: TextIO | None = None) -> None:
    """Prints a text at once; letters that the console lacks are replaced by question marks."""
    stream = sys.stdout if file is None else file
    encoding = getattr(stream, "encoding", None) or "utf-8"
    try:
        print(text.encode(encoding, "replace").decode(encoding), file=stream, flush=True)
    except (BrokenPipeError, ValueError):  # nobody reads any more, or the stream is closed
        _be_quiet(stream)


def finish() -> None:
    """Sends out what is left to be said, before Python does it and complains."""
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except (BrokenPipeError, ValueError):
            _be_quiet(stream)


def _be_quiet(stream: TextIO) -> None:
    """Lets whatever is still said to a closed pipe go nowhere."""
    try:
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, stream.fileno())
        os.close(nowhere)
    except (OSError, ValueError):  # a stream that is no file of the system
        return
