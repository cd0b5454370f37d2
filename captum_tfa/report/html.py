"""How a page of this package is put together: escaped, in one file, and closed to all else.

What a user gives is escaped. A Content-Security-Policy lets nothing be loaded and no script or
style run but the page's own, which it names by their hashes.
"""

from __future__ import annotations

import base64
import hashlib
import html
from importlib import resources
from typing import Any

import numpy as np
from jinja2 import ChoiceLoader, Environment, PackageLoader, StrictUndefined
from matplotlib.colors import Colormap, to_hex

_HERE = "captum_tfa.report"
_HEIGHT = 900  # pixels of the frame in a notebook
_LEGEND_STOPS = 9


def environment(*packages: str) -> Environment:
    """Templates of this package, and of others that build on it."""
    made = Environment(
        loader=ChoiceLoader([PackageLoader(package) for package in (*packages, _HERE)]),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made.policies["json.dumps_kwargs"] = {"allow_nan": False}  # and the order as given
    return made


def own_file(name: str, package: str = _HERE) -> str:
    """A file of the page, with the line ends that its hash is of."""
    file = resources.files(package) / "templates" / name
    return file.read_text(encoding="utf-8").replace("\r\n", "\n")


def policy(styles: str, script: str) -> str:
    """The Content-Security-Policy of a page with this style sheet and this script."""

    def hashed(text: str) -> str:
        digest = hashlib.sha256(text.encode()).digest()
        return f"'sha256-{base64.b64encode(digest).decode()}'"

    return (
        f"default-src 'none'; script-src {hashed(script)}; style-src {hashed(styles)}; "
        "img-src data:; base-uri 'none'; form-action 'none'"
    )


def framed(title: str, page: str) -> str:
    """A page in a frame of its own, in which it cannot touch the notebook around it."""
    return (
        f'<iframe title="{html.escape(title)}" sandbox="allow-scripts" '
        f'width="100%" height="{_HEIGHT}" frameborder="0" '
        f'srcdoc="{html.escape(page)}"></iframe>'
    )


def colour_table(colours: Colormap) -> list[list[int]]:
    """The colours of a scale, ``[256, 4]`` from 0 to 255."""
    table: list[list[int]] = colours(np.arange(256), bytes=True).tolist()
    return table


def colour_legend(name: str, colours: Colormap) -> dict[str, Any]:
    """The colours of a scale for a bar of the page."""
    stops = np.linspace(0, 1, _LEGEND_STOPS)
    return {
        "name": name,
        "stops": [
            (round(float(stop), 3), to_hex(colours(stop)), round(float(colours(stop)[3]), 3))
            for stop in stops
        ],
    }
