"""Runs a tutorial and writes it down with what each of its cells gave.

    python docs/render_tutorial.py pixel_maps --data photographs --tests 4

All that follows the name is given to the tutorial. The page and its figures lie in
``docs/tutorials``; a test holds the page's cells to those of the tutorial.
"""

from __future__ import annotations

import contextlib
import io
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple, TextIO

DOCS = Path(__file__).resolve().parent
TUTORIALS = DOCS.parent / "tutorials"
PAGES = DOCS / "tutorials"
_HOW = "## How this was run"


class Cell(NamedTuple):
    """A part of a tutorial.

    Attributes:
        text: Markdown, or code.
        line: Of the file, at which it begins, from 0.
        is_code: Which of the two.
    """

    text: str
    line: int
    is_code: bool


class _Both(io.StringIO):
    """Keeps what is printed, and prints it."""

    def __init__(self, shown: TextIO) -> None:
        super().__init__()
        self._shown = shown

    def write(self, text: str) -> int:
        self._shown.write(text)
        return super().write(text)


def cells(source: str) -> Iterator[Cell]:
    """The cells of a notebook that is kept as text, empty ones left out."""
    lines = source.splitlines()
    marks = [place for place, line in enumerate(lines) if line.startswith("# %%")]
    for mark, end in zip(marks, [*marks[1:], len(lines)], strict=True):
        is_code = "[markdown]" not in lines[mark]
        inside = lines[mark + 1 : end]
        if not is_code:
            inside = [re.sub("^# ?", "", line) for line in inside]
        text = "\n".join(inside).strip("\n")
        if text:
            yield Cell(text, mark + 1, is_code)


def shown(cell: Cell) -> str:
    """A cell as the page has it."""
    return f"```python\n{cell.text}\n```" if cell.is_code else cell.text


def rendered(name: str, arguments: list[str]) -> str:
    """The page of a tutorial, which is run for it.

    Args:
        name: The tutorial's.
        arguments: Given to it.
    """
    file = TUTORIALS / f"{name}.py"
    sys.path.insert(0, str(TUTORIALS))
    sys.argv = [str(file), *arguments]
    known: dict[str, Any] = {"__name__": "__main__", "__file__": str(file)}
    parts: list[str] = []
    said: list[str] = []
    for cell in cells(file.read_text(encoding="utf-8")):
        parts.append(shown(cell))
        if not cell.is_code:
            continue
        printed = _Both(sys.stdout)
        with contextlib.redirect_stdout(printed):
            # Errors name the line of the file.
            exec(compile("\n" * cell.line + cell.text, str(file), "exec"), known)
        if "record" in known:  # what else is printed tells how far a long run is
            new = known["record"].parts[len(said) :]
            parts, said = [*parts, *new], [*said, *new]
        elif printed.getvalue():
            parts.append(f"```text\n{printed.getvalue().strip()}\n```")
    if "record" in known:
        parts.insert(1, _note(name))
        page = (PAGES / f"{name}.md").read_text(encoding="utf-8")
        parts.append(_HOW + page.rpartition(_HOW)[2].rstrip())
    return "\n\n".join(parts) + "\n"


def _note(name: str) -> str:
    """What a reader must know of the numbers."""
    note = "A run with the settings that stand at the end, to show what each cell gives."
    if (DOCS / "results" / f"{name}.md").exists():
        note += f" The full run's numbers stand on [its page of results](../results/{name}.md)."
    return f"*{note}*"


if __name__ == "__main__":
    PAGES.mkdir(exist_ok=True)
    tutorial, *given = sys.argv[1:]
    out = [] if tutorial == "toy_example" else ["--out", str(PAGES)]
    text = rendered(tutorial, [*given, *out])
    (PAGES / f"{tutorial}.md").write_text(text, encoding="utf-8")
