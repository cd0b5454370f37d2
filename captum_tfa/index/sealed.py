"""Small JSON files that are written whole or not at all, and that notice when they are damaged."""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path
from typing import Any

from captum_tfa.whole_file import whole_file


def write_sealed(path: Path, content: dict[str, Any]) -> None:
    """Write a JSON file with its own checksum, in the place of an older one."""
    with whole_file(path) as new, new.open("w", encoding="utf-8") as file:
        json.dump({**content, "checksum": _checksum(content)}, file, indent=1)
        file.flush()
        os.fsync(file.fileno())


def remove_leftovers(path: Path) -> None:
    """Remove what a writer of this file left beside it when it was killed; none may write now."""
    for left in path.parent.glob(f".{path.name}.*.new"):
        left.unlink(missing_ok=True)


def read_sealed(path: Path) -> dict[str, Any]:
    """What `write_sealed` wrote.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it was changed since, or is no such file.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        checksum = content.pop("checksum")
    except (UnicodeDecodeError, json.JSONDecodeError, AttributeError, KeyError, TypeError) as error:
        raise ValueError(f"{path} is damaged, or no file of an index.") from error
    if checksum != _checksum(content):
        raise ValueError(f"{path} is damaged: its checksum is another one.")
    found: dict[str, Any] = content
    return found


def _checksum(content: dict[str, Any]) -> str:
    words = json.dumps(content, sort_keys=True, ensure_ascii=True)
    return hashlib.sha256(words.encode()).hexdigest()
