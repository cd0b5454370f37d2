"""One file, two uses: a notebook with its defaults, a script with `--name value`."""

from __future__ import annotations

import argparse
import sys
from typing import Any

import matplotlib


def in_notebook() -> bool:
    """Whether this code runs in IPython or Jupyter."""
    ipython = sys.modules.get("IPython")
    return ipython is not None and ipython.get_ipython() is not None


def settings(**defaults: Any) -> argparse.Namespace:
    """The settings of a run: the defaults, or what the command line says instead.

    ``settings(images=500, layers=("conv1", "fc"), plots=True)`` reads
    ``--images 20 --layers fc --no-plots``. An underscore becomes a hyphen. In a notebook the
    defaults count. A script draws its figures into files only, without a window.

    Args:
        **defaults: str, int, float or bool; or a tuple of strings or numbers, not empty.

    Returns:
        One attribute a setting.

    Raises:
        TypeError: A default of another type.
    """
    parser = argparse.ArgumentParser(description="The defaults are the full run.")
    for name, default in defaults.items():
        option = "--" + name.replace("_", "-")
        several = isinstance(default, tuple) and len(default) > 0
        kind = type(default[0] if several else default)
        if kind not in (str, int, float, bool) or (several and kind is bool):
            raise TypeError(
                f"the default of {name} is {default!r}; "
                "give a str, int, float, bool, or a tuple of strings or numbers"
            )
        form: dict[str, Any] = {"type": kind, "nargs": "+" if several else None}
        if kind is bool:
            form = {"action": argparse.BooleanOptionalAction}
        parser.add_argument(option, default=default, help="default: %(default)s", **form)
    if in_notebook():
        return parser.parse_args([])
    matplotlib.use("Agg")
    run = parser.parse_args()
    for name, default in defaults.items():
        if isinstance(default, tuple):
            setattr(run, name, tuple(getattr(run, name)))
    return run
