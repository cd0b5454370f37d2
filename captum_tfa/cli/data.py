"""The user's pictures: folders of classes, and single files."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from PIL import Image, UnidentifiedImageError
from torchvision.datasets import ImageFolder
from torchvision.datasets.folder import is_image_file

from captum_tfa.cli.errors import UserError


def training_root(data: str) -> Path:
    """``DATA/train`` if there is such a folder, else ``DATA``.

    Raises:
        UserError: There is no folder ``DATA``.
    """
    root = Path(data).expanduser()
    if not root.is_dir():
        what = "is a file" if root.exists() else "does not exist"
        raise UserError(f"--data {data} {what}; name a folder that holds one folder a class")
    return root / "train" if (root / "train").is_dir() else root


def find_classes(root: Path) -> list[str]:
    """The names of the class folders, in the order of their labels.

    Raises:
        UserError: There are fewer than two, or one of them holds no picture.
    """
    classes = sorted(entry.name for entry in root.iterdir() if entry.is_dir())
    if len(classes) < 2:
        found = f"only the folder {classes[0]}" if classes else "no folders"
        raise UserError(
            f"{root} holds {found}; it must hold one folder a class, at least two: "
            f"{root / 'CLASS' / 'picture.jpg'}"
        )
    for name in classes:
        if not any(is_image_file(str(file)) for file in (root / name).rglob("*")):
            raise UserError(
                f"{root / name} holds no pictures (.jpg, .png, ...); "
                "every folder there is taken for a class: put pictures in, or move it away"
            )
    return classes


def open_folder(
    root: Path, classes: Sequence[str], transform: Callable[[Image.Image], Any]
) -> ClassFolders:
    """The pictures under ``root``, whose class folders are among ``classes``.

    Raises:
        UserError: There is a folder of another name, or no picture at all.
    """
    strange = [name for name in find_classes(root) if name not in classes]
    if strange:
        raise UserError(
            f"{root} has the class {strange[0]}, which the training images do not have; "
            f"their classes are {listed(classes)}"
        )
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


def load_image(file: str | Path) -> Image.Image:
    """The picture in a file, in colour.

    Raises:
        UserError: There is no such file, or it is no picture that can be read.
    """
    path = Path(file).expanduser()
    if not path.is_file():
        what = "is a folder" if path.is_dir() else "does not exist"
        raise UserError(f"{file} {what}; name an image file")
    try:
        with Image.open(path) as image:
            return image.convert("RGB")
    except UnidentifiedImageError as error:
        raise UserError(
            f"{file} is not an image that can be read; replace it or move it away"
        ) from error
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise UserError(
            f"{file} cannot be read as an image ({error}); replace it or move it away"
        ) from error


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
