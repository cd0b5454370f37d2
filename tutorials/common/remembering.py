"""Numbers that took long to measure are kept in a file: a run that was cut off goes on there."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor


def remembered(
    path: str | Path, asked: dict[str, Any], measure: Callable[[], dict[str, Any]]
) -> dict[str, Any]:
    """What ``measure`` found when the same was asked before, else what it finds now.

    Args:
        path: A JSON file. Its folder is made if it does not exist.
        asked: All that the result depends on; numbers, strings, and lists or dicts of them.
        measure: Gives numbers, strings, and lists or dicts of them; called only if ``path`` does
            not hold the answer to exactly this question.

    Returns:
        The result as it comes out of the file: tuples are lists, keys are strings.
    """
    path = Path(path)
    asked = json.loads(json.dumps(asked))
    if path.is_file():
        known = json.loads(path.read_text(encoding="utf-8"))
        if known["asked"] == asked:
            found: dict[str, Any] = known["found"]
            return found
    text = json.dumps({"asked": asked, "found": measure()})
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_name(f"{path.name}.{os.getpid()}")
    unfinished.write_text(text, encoding="utf-8")
    unfinished.replace(path)  # another process sees the whole file or none
    found = json.loads(text)["found"]
    return found


def remembered_tensors(
    path: str | Path, asked: dict[str, Any], measure: Callable[[], dict[str, Tensor]]
) -> dict[str, Tensor]:
    """As `remembered`, for tensors by name, in a safetensors file."""
    path = Path(path)
    question = json.dumps(asked, sort_keys=True)
    if path.is_file():
        with safe_open(path, "pt") as known:
            if known.metadata() == {"asked": question}:
                return {name: known.get_tensor(name) for name in known.keys()}  # noqa: SIM118
    found = {name: tensor.detach().contiguous() for name, tensor in measure().items()}
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_name(f"{path.name}.{os.getpid()}")
    save_file(found, unfinished, {"asked": question})
    unfinished.replace(path)
    return found
