"""Training pictures from a table: a CSV file with the columns ``file`` and ``label``."""

from __future__ import annotations

import csv
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from PIL import Image
from torch.utils.data import Dataset

from captum_tfa.cli.errors import UserError


def is_table(path: Path) -> bool:
    """Whether a path names a table."""
    return path.suffix.lower() == ".csv" and path.is_file()


def read_table(table: Path) -> list[tuple[str, str]]:
    """``(file, label)`` of each row. A file is looked for from the table's folder.

    Raises:
        UserError: It is no such table, a picture is missing, or one has two labels.
    """
    try:
        with table.open(encoding="utf-8-sig", newline="") as opened:
            rows = csv.DictReader(opened, strict=True)
            names = rows.fieldnames or []
            if "file" not in names or "label" not in names:
                raise UserError(
                    f"{table} has the columns {', '.join(map(str, names)) or '(none)'}; it must "
                    "have file and label, named in its first line"
                )
            found = [_row(table, rows.line_num, row) for row in rows]
    except (UnicodeDecodeError, csv.Error) as error:
        raise UserError(
            f"{table} cannot be read as a table ({error}); save it as CSV with commas, in UTF-8"
        ) from error
    labels: dict[str, str] = {}
    for file, label in found:
        if labels.setdefault(file, label) != label:
            raise UserError(
                f"{table} gives {file} the labels {labels[file]} and {label}; a picture has one"
            )
    return found


def classes_of(table: Path) -> list[str]:
    """The classes of a table in the order of their labels: by name; whole numbers by size.

    Raises:
        UserError: As `read_table`, or there are fewer than two.
    """
    names = {label for _, label in read_table(table)}
    if len(names) < 2:
        only = f"only the label {next(iter(names))}" if names else "no rows"
        raise UserError(f"{table} holds {only}; it must hold at least two classes")
    if all(name.isdecimal() for name in names):
        return sorted(names, key=lambda name: (int(name), name))
    return sorted(names)


class TablePictures(Dataset[Any]):
    """The pictures of a table, labelled by the places of their labels among ``classes``.

    Attributes:
        classes: Class names; a label is an index into it.
        samples: ``(file, label)`` of each picture.
        transform: What is done to a picture.
    """

    def __init__(
        self,
        table: Path,
        classes: Sequence[str],
        load: Callable[[str], Image.Image],
        transform: Callable[[Image.Image], Any],
    ) -> None:
        places = {name: label for label, name in enumerate(classes)}
        self.classes = list(classes)
        self.samples = [(file, places[name]) for file, name in read_table(table)]
        self.transform = transform
        self._load = load

    def __len__(self) -> int:
        return len(self.samples)

    def __getitem__(self, index: int) -> tuple[Any, int]:
        file, label = self.samples[index]
        return self.transform(self._load(file)), label


def _row(table: Path, line: int, row: dict[str, Any]) -> tuple[str, str]:
    file, label = (str(row[name] or "").strip() for name in ("file", "label"))
    if not file or not label:
        raise UserError(f"{table} lacks a file or a label in line {line}")
    path = table.parent / Path(file).expanduser()
    if not path.is_file():
        raise UserError(f"{table} names {file} in line {line}, but there is no file {path}")
    return str(path), label
