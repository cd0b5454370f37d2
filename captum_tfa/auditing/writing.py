"""A text file that is written whole, or not at all."""

from __future__ import annotations

import os
from pathlib import Path

from captum_tfa.whole_file import whole_file


def write_whole(path: str | os.PathLike[str], text: str) -> Path:
    """Writes a text in UTF-8 beside a file's place and puts it there when it is whole.

    Raises:
        OSError: It cannot be written; what was there before is there still.
    """
    file = Path(path).expanduser()
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        with whole_file(file) as unfinished:
            unfinished.write_text(text, encoding="utf-8", newline="")
    except OSError as error:
        raise OSError(
            f"{os.fspath(path)[:200]} cannot be written ({error.strerror}); name another file"
        ) from error
    return file
