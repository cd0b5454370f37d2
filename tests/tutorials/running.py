"""Runs a tutorial inside the test's process, as its own script would run."""

from __future__ import annotations

import os
import runpy
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import torch

TUTORIALS = Path(__file__).resolve().parents[2] / "tutorials"


def run_tutorial(name: str, /, **settings: Any) -> dict[str, Any]:
    """Runs ``tutorials/NAME.py`` with these settings and returns its globals.

    The working directory is a temporary one that is gone afterwards: give ``out`` a folder to
    look at what was written. The search path, ``sys.argv``, the working directory and PyTorch's
    random state are as before.
    """
    with _as_script(name, _options(settings)):
        return runpy.run_path(str(TUTORIALS / f"{name}.py"), run_name="__main__")


def _options(settings: dict[str, Any]) -> list[str]:
    words = []
    for name, value in settings.items():
        option = name.replace("_", "-")
        if isinstance(value, bool):
            words.append(f"--{option}" if value else f"--no-{option}")
        elif isinstance(value, tuple | list):
            words += [f"--{option}", *map(str, value)]
        else:
            words.append(f"--{option}={value}")
    return words


@contextmanager
def _as_script(name: str, options: list[str]) -> Iterator[None]:
    path, argv, folder = list(sys.path), list(sys.argv), os.getcwd()
    sys.path.insert(0, str(TUTORIALS))
    sys.argv[:] = [str(TUTORIALS / f"{name}.py"), *options]
    try:
        with tempfile.TemporaryDirectory() as empty, torch.random.fork_rng():
            os.chdir(empty)
            try:
                yield
            finally:
                os.chdir(folder)
    finally:
        sys.path[:], sys.argv[:] = path, argv
        plt.close("all")
