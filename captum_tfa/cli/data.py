"""The user's pictures: folders of classes, tables, and single files."""

from __future__ import annotations

import difflib
import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, UnidentifiedImageError
from torchvision.datasets import ImageFolder
from torchvision.datasets.folder import is_image_file

from captum_tfa.cli.errors import UserError
from captum_tfa.cli.table import TablePictures, classes_of, is_table


def training_root(data: str) -> Path:
    """``DATA/train`` if there is such a folder, else ``DATA``: a folder or a table.

    Raises:
        UserError: There is no folder ``DATA``, and it is no table either.
    """
    root = Path(data).expanduser()
    if is_table(root):
        return root
    if not root.is_dir():
        what = "is a file" if root.exists() else "does not exist"
        table = root.exists() or root.suffix.lower() == ".csv"
        raise UserError(
            f"--data {data} {what}; name a folder that holds one folder a class"
            + (", or a .csv file with the columns file and label" if table else "")
        )
    return root / "train" if (root / "train").is_dir() else root


def find_classes(root: Path) -> list[str]:
    """The names of the classes, in the order of their labels.

    Raises:
        UserError: There are fewer than two, a class folder holds no picture, or a table is wrong.
    """
    if is_table(root):
        return classes_of(root)
    classes = sorted(entry.name for entry in root.iterdir() if entry.is_dir())
    if len(classes) < 2:
        found = f"only the folder {classes[0]}" if classes else "no folders"
        raise UserError(
            f"{root} holds {found}; it must hold one folder a class, at least two: "
            f"{root / 'CLASS' / 'picture.jpg'}"
        )
    for name in classes:
        if next(_pictures_in(root / name, {os.path.realpath(root)}), None) is None:
            raise UserError(
                f"{root / name} holds no pictures (.jpg, .png, ...); "
                "every folder there is taken for a class: put pictures in, or move it away"
            )
    return classes


def open_folder(
    root: Path, classes: Sequence[str], transform: Callable[[Image.Image], Any]
) -> ClassFolders | TablePictures:
    """The pictures under ``root``, or in that table, whose classes are among ``classes``.

    Raises:
        UserError: There is a class of another name, or no picture at all.
    """
    strange = [name for name in find_classes(root) if name not in classes]
    if strange:
        raise UserError(
            f"{root} has the class {strange[0]}, which the training images do not have; "
            f"their classes are {listed(classes)}"
        )
    if is_table(root):
        return TablePictures(root, classes, load_image, transform)
    return ClassFolders(root, classes, transform)


class ClassFolders(ImageFolder):  # type: ignore[misc]
    """The pictures of folders whose names are among ``classes``, labelled by their places there.

    Unlike ``ImageFolder`` it lets folders be missing, as a small test set may have it, and says
    which file is broken.
    """

    def __init__(
        self, root: Path, classes: Sequence[str], transform: Callable[[Image.Image], Any]
    ) -> None:
        self._names = list(classes)
        super().__init__(str(root), transform=transform, loader=load_image, allow_empty=True)

    def find_classes(self, directory: str | Path) -> tuple[list[str], dict[str, int]]:
        """All classes with their labels, whatever folders there are."""
        return self._names, {name: label for label, name in enumerate(self._names)}

    @staticmethod
    def make_dataset(
        directory: str | Path, class_to_idx: dict[str, int], *args: Any, **kwargs: Any
    ) -> list[tuple[str, int]]:
        """The files with their labels, every folder once, whatever links lead to it."""
        root = Path(directory)
        seen = {
            os.path.realpath(folder) for folder in (root, *(root / name for name in class_to_idx))
        }
        return [
            (file, label)
            for name, label in sorted(class_to_idx.items())
            for file in _pictures_in(root / name, seen)
        ]


def _pictures_in(folder: Path, seen: set[str]) -> Iterator[str]:
    """The pictures in a folder and, once each, in the folders within it.

    Args:
        folder: where to look; it may be missing.
        seen: real paths of folders that were or will be looked into; brought up to date. A link
            to one of them would bring its pictures again, or the pictures of another class.
    """
    if not folder.is_dir():
        return
    entries = sorted(os.scandir(folder), key=lambda entry: entry.name)
    yield from (entry.path for entry in entries if is_image_file(entry.name) and entry.is_file())
    for entry in entries:
        if entry.is_dir():
            place = os.path.realpath(entry.path)
            if place not in seen:
                seen.add(place)
                yield from _pictures_in(Path(entry.path), seen)


def load_image(file: str | Path) -> Image.Image:
    """The picture in a file, in colour.

    Raises:
        UserError: There is no such file, or it is no picture that can be read, or one whose
            numbers have no known range.
    """
    path = Path(file).expanduser()
    if not path.is_file():
        what = "is a folder" if path.is_dir() else "does not exist"
        raise UserError(f"{file} {what}; name an image file")
    try:
        with Image.open(path) as image:
            return _in_eight_bits(image, file).convert("RGB")
    except UnidentifiedImageError as error:
        raise UserError(
            f"{file} is not an image that can be read; replace it or move it away"
        ) from error
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise UserError(
            f"{file} cannot be read as an image ({error}); replace it or move it away"
        ) from error


def _in_eight_bits(image: Image.Image, file: str | Path) -> Image.Image:
    """The picture with values from 0 to 255; PIL would cut off what lies above.

    Raises:
        UserError: Its values have no known range.
    """
    if image.mode not in ("I", "F") and not image.mode.startswith("I;16"):
        return image
    values = np.asarray(image).astype(np.float64)
    if image.mode.startswith("I;16") or image.format == "PNG":  # PNG knows 16 bits at most
        most = 65535.0
    elif image.mode == "F" and values.min() >= 0 and values.max() <= 1:
        most = 1.0
    else:
        kind = "32-bit whole" if image.mode == "I" else "floating-point"
        raise UserError(
            f"{file} holds {kind} numbers from {values.min():g} to {values.max():g}, and nothing "
            "says which is white; save it with 8 or 16 bits, or as numbers from 0 to 1"
        )
    return Image.fromarray((values * (255 / most)).round().astype(np.uint8), "L")


def class_index(name: str, classes: Sequence[str]) -> int:
    """The label of a class name.

    Raises:
        UserError: No class has this name.
    """
    if name not in classes:
        near = difflib.get_close_matches(name, classes, n=1)
        hint = f"; did you mean {near[0]}?" if near else ""
        raise UserError(f"--label {name} is no class of the data: {listed(classes)}{hint}")
    return classes.index(name)


def listed(names: Sequence[str], most: int = 8) -> str:
    """The first few names, with dots if there are more."""
    return ", ".join(names[:most]) + (", ..." if len(names) > most else "")
