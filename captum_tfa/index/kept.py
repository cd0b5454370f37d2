"""What is computed of a whole index is kept in a file beside it for the next time."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from captum_tfa.whole_file import whole_file


def read_kept(file: Path, identity: str) -> dict[str, Tensor] | None:
    """The tensors of a file; ``None`` if there is none, or if it is damaged or of something else.

    Args:
        file: that `write_kept` wrote.
        identity: of what it must be.
    """
    try:
        with safe_open(file, framework="pt") as opened:
            if (opened.metadata() or {}).get("of") != identity:
                return None
            return {name: opened.get_tensor(name) for name in opened.keys()}  # noqa: SIM118
    except (FileNotFoundError, SafetensorError, OSError):
        return None


def write_kept(file: Path, tensors: dict[str, Tensor], identity: str) -> None:
    """Write tensors whole, or not at all: in a folder for reading only they are computed again."""
    with suppress(OSError, SafetensorError), whole_file(file) as new:
        save_file(tensors, new, metadata={"of": identity})
