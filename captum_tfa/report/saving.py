"""Writes an explanation to a folder: whole, or not at all.

Everything is written to a new folder beside the target, which is then renamed. Whoever looks
sees the old state or the new one, and an error on the way (a full disk, Ctrl-C) leaves none of
ours behind.
"""

from __future__ import annotations

import json
import os
import shutil
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor

from captum_tfa.report import page
from captum_tfa.report.explanation import Explanation, TrainingExample

FIGURE, TEXT, TENSORS = "figure.png", "explanation.json", "maps.safetensors"
REPORT = "report.html"
_FILES = {FIGURE, TEXT, TENSORS, REPORT}
_FORMAT = "captum_tfa.explanation"


def try_destination(directory: str | os.PathLike[str]) -> None:
    """Write beside a destination, where an explanation would be made, and take it away again.

    Raises:
        OSError: Nothing can be written there.
        FileExistsError: As `check_destination`.
    """
    target = check_destination(directory)
    with _in_users_words(directory):
        made, new = _make_parents(target.parent), _new_beside(target)
        try:
            new.mkdir()
            (new / TEXT).write_text("{}", encoding="utf-8")
        finally:
            _take_away(new, made)


def check_destination(directory: str | os.PathLike[str]) -> Path:
    """The folder's path without links, if an explanation may be written there.

    Raises:
        FileExistsError: It is a file, or a folder that holds anything but an explanation.
        OSError: It cannot be looked at, such as a name that is too long.
    """
    with _in_users_words(directory):
        return _checked(Path(directory).expanduser().resolve())


def _checked(target: Path) -> Path:
    for parent in target.parents:
        if parent.exists():
            if not parent.is_dir():
                raise FileExistsError(
                    f"{parent} is a file, so {target} cannot be made: choose another folder"
                )
            break
    if not target.exists():
        return target
    if not target.is_dir():
        raise FileExistsError(f"{target} is a file; name a folder that is new or empty")
    found = {entry.name for entry in target.iterdir()}
    if found and not (found <= _FILES and _is_explanation(target / TEXT)):
        strange = sorted(found - _FILES) or sorted(found)
        raise FileExistsError(
            f"{target} holds files that are no explanation ({', '.join(strange[:3])}"
            f"{', ...' if len(strange) > 3 else ''}); name a folder that is new or empty"
        )
    return target


def save(explanation: Explanation, directory: str | os.PathLike[str]) -> Path:
    """See `Explanation.save`."""
    target = check_destination(directory)
    with _in_users_words(directory):
        made, new = _make_parents(target.parent), _new_beside(target)
        try:
            new.mkdir()
            _write(explanation, new)
            _put_in_place(new, target, old=new.with_suffix(".old"))
        except BaseException:
            _take_away(new, made)
            raise
    return target


def to_json(explanation: Explanation) -> dict[str, Any]:
    """The explanation without its pictures, in JSON's types."""
    return {
        "format": _FORMAT,
        "format_version": 1,
        "test": {
            "predicted": explanation.predicted,
            "predicted_name": explanation.predicted_name,
            "confidence": explanation.confidence,
            "label": explanation.label,
            "label_name": explanation.label_name,
            "label_given": explanation.label_given,
            "answers": [
                {"label": a.label, "label_name": a.name, "probability": a.probability}
                for a in explanation.answers
            ],
        },
        "proponents": [_entry(example) for example in explanation.proponents],
        "opponents": [_entry(example) for example in explanation.opponents],
        "settings": dict(explanation.settings),
        "versions": dict(explanation.versions),
    }


def _entry(example: TrainingExample) -> dict[str, Any]:
    return {
        "index": example.index,
        "score": example.score,
        "label": example.label,
        "label_name": example.label_name,
        "file": example.file,
    }


def _write(explanation: Explanation, folder: Path) -> None:
    text = json.dumps(to_json(explanation), indent=2, ensure_ascii=False, allow_nan=False)
    (folder / TEXT).write_text(text + "\n", encoding="utf-8")
    tensors = {"test_image": explanation.test_image}
    for side, examples in (
        ("proponent", explanation.proponents),
        ("opponent", explanation.opponents),
    ):
        tensors[f"{side}_images"] = _stack([example.image for example in examples])
        tensors[f"{side}_maps"] = _stack([example.map for example in examples])
        tensors[f"{side}_test_maps"] = _stack([example.test_map for example in examples])
        for name in (method.name for method in explanation.more_methods):
            maps = [example.more_maps[name] for example in examples]
            tensors[f"{side}_maps.{name}"] = _stack([of_train for of_train, _ in maps])
            tensors[f"{side}_test_maps.{name}"] = _stack([of_test for _, of_test in maps])
    tensors = {name: tensor.contiguous() for name, tensor in tensors.items()}
    save_file(tensors, folder / TENSORS, metadata={"format": _FORMAT})
    (folder / REPORT).write_text(page.render(explanation), encoding="utf-8", newline="\n")
    explanation.plot().savefig(folder / FIGURE, dpi=150)


def _stack(tensors: Sequence[Tensor]) -> Tensor:
    """``[K, ...]``; ``[0]`` if there is none, so that every file has the same names."""
    return torch.stack(list(tensors)) if tensors else torch.empty(0)


def _put_in_place(new: Path, target: Path, old: Path) -> None:
    if not target.exists():
        new.rename(target)
        return
    target.rename(old)  # an earlier explanation or an empty folder: `check_destination`
    try:
        new.rename(target)
    except BaseException:
        old.rename(target)
        raise
    shutil.rmtree(old, ignore_errors=True)


@contextmanager
def _in_users_words(directory: str | os.PathLike[str]) -> Iterator[None]:
    """Errors of the system name the folder that was asked for, not the hidden one beside it."""
    try:
        yield
    except OSError as error:
        if error.errno is None:  # in words already
            raise
        raise OSError(
            f"{os.fspath(directory)[:200]} cannot be written ({error.strerror}); "
            "name another folder"
        ) from error


def _new_beside(target: Path) -> Path:
    return target.with_name(f".captum-tfa-{uuid.uuid4().hex[:12]}.new")


def _take_away(new: Path, made: Sequence[Path]) -> None:
    shutil.rmtree(new, ignore_errors=True)
    for parent in made:
        with suppress(OSError):
            parent.rmdir()


def _make_parents(folder: Path) -> list[Path]:
    """Makes ``folder`` and what is missing above it; what was made, innermost first."""
    missing = [path for path in (folder, *folder.parents) if not path.exists()]
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError:
        for path in missing:
            with suppress(OSError):
                path.rmdir()
        raise
    return missing


def _is_explanation(file: Path) -> bool:
    try:
        return bool(json.loads(file.read_text(encoding="utf-8"))["format"] == _FORMAT)
    except (OSError, ValueError, TypeError, KeyError):
        return False
