"""A text file that is written whole, or not at all."""

from __future__ import annotations

import os
import uuid
from pathlib import Path


def write_whole(path: str | os.PathLike[str], text: str) -> Path:
    """Writes a text in UTF-8 beside a file's place and puts it there when it is whole.

    Raises:
        OSError: It cannot be written; what was there before is there still.
    """
    file = Path(path).expanduser()
    unfinished = file.with_name(f".captum-tfa-{uuid.uuid4().hex[:12]}.new")
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        unfinished.write_text(text, encoding="utf-8", newline="")
        unfinished.replace(file)
    except OSError as error:
        unfinished.unlink(missing_ok=True)
        raise OSError(
            f"{os.fspath(path)[:200]} cannot be written ({error.strerror}); name another file"
        ) from error
    except BaseException:
        unfinished.unlink(missing_ok=True)
        raise
    return file
