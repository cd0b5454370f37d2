"""The page of results that a tutorial writes: text, tables, figures, and how it was run."""

from __future__ import annotations

import argparse
import datetime
import io
import platform
import re
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import captum
import matplotlib.pyplot as plt
import torch
import torchvision
from matplotlib.figure import Figure
from PIL import Image
from torch import Tensor

import captum_tfa
from captum_tfa.metrics.intervals import NORMAL_95, Interval
from common.settings import in_notebook


def interval(values: Tensor | Sequence[float]) -> Interval:
    """Mean and 95 % normal confidence interval of independent values, at least two.

    Raises:
        ValueError: Fewer than two values.
    """
    numbers = torch.as_tensor(values, dtype=torch.double).flatten()
    if len(numbers) < 2:
        raise ValueError(f"got {len(numbers)} value(s); an interval needs at least 2: measure more")
    mean, half = numbers.mean(), NORMAL_95 * numbers.std() / len(numbers) ** 0.5
    return Interval(float(mean), float(mean - half), float(mean + half))


class Record:
    """Collects what a run found, shows it at once, and writes it as a Markdown page.

    The page bears the name of the script (or of its title, in a notebook).

    Args:
        title: Heading of the page.
        out: Folder for the page and its figures; made if it does not exist.
        run: The settings, as `common.settings.settings` returned them.
    """

    def __init__(self, title: str, out: str | Path, run: argparse.Namespace) -> None:
        slug = re.sub(r"\W+", "_", title.lower()).strip("_")
        self.name = slug if in_notebook() else Path(sys.argv[0]).stem
        self.title = title
        self.out = Path(out)
        self.out.mkdir(parents=True, exist_ok=True)
        self.run = run
        self.parts: list[str] = []
        self.began = time.monotonic()

    def say(self, text: str) -> None:
        """Adds a paragraph (Markdown)."""
        print(text, flush=True)
        self.parts.append(text.strip())

    def table(self, header: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
        """Adds a table; floats are written with three significant digits."""
        cells = [list(header), ["---"] * len(header)]
        cells += [[f"{c:.3g}" if isinstance(c, float) else str(c) for c in row] for row in rows]
        written = [[cell.replace("|", "\\|") for cell in row] for row in cells]  # no new columns
        self.say("\n".join("| " + " | ".join(row) + " |" for row in written))

    def figure(self, fig: Figure, name: str, caption: str) -> None:
        """Writes a figure next to the page, and shows it there with its caption.

        256 colours are enough for the eye, and a third of the size for photographs.
        """
        file = f"{self.name}-{name}.png"
        drawn = io.BytesIO()
        fig.savefig(drawn, dpi=90, bbox_inches="tight")
        _few_colours(Image.open(drawn).convert("RGB")).save(self.out / file, optimize=True)
        if not in_notebook():
            plt.close(fig)
        self.say(f"![{caption}]({file})\n\n*{caption}*")

    def save(self) -> Path:
        """Writes the page and returns its path."""
        page = self.out / f"{self.name}.md"
        text = "\n\n".join([f"# {self.title}", *self.parts, "## How this was run", self._how()])
        page.write_text(text + "\n", encoding="utf-8")
        return page

    def _how(self) -> str:
        # An absolute path says something about one machine only: its last part is enough.
        given = [re.sub(r"(^|=)/.*/", r"\1", word) for word in sys.argv[1:]]
        command = ["python", f"tutorials/{self.name}.py", *([] if in_notebook() else given)]
        values = {
            key: re.sub("^/.*/", "", value) if isinstance(value, str) else value
            for key, value in vars(self.run).items()
        }
        minutes = (time.monotonic() - self.began) / 60
        lines = [
            f"command: `{' '.join(command)}`",
            "settings: " + ", ".join(f"`{key} = {value!r}`" for key, value in values.items()),
            f"date: {datetime.date.today().isoformat()}; it took {minutes:.1f} minutes "
            f"on {platform.machine()} with {torch.get_num_threads()} thread(s)",
            f"versions: captum_tfa {captum_tfa.__version__}, Python {platform.python_version()}, "
            f"torch {torch.__version__}, torchvision {torchvision.__version__}, "
            f"captum {captum.__version__}",
        ]
        return "\n".join(f"- {line}" for line in lines)


def _few_colours(picture: Image.Image) -> Image.Image:
    """The picture in 256 colours, with soft slopes and a white that stays white."""
    palette = picture.quantize(256)
    drawn = picture.quantize(palette=palette, dither=Image.Dither.FLOYDSTEINBERG)
    # Of 256 colours none need be white: the one that white became is made white.
    white = Image.new("RGB", (1, 1), "white").quantize(palette=palette, dither=Image.Dither.NONE)
    place = 3 * int(white.getpixel((0, 0)))
    colours = drawn.getpalette() or []
    colours[place : place + 3] = [255, 255, 255]
    drawn.putpalette(colours)
    return drawn
