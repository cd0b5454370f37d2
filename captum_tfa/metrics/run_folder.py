"""Where the models of a long experiment leave what they said: one small file each.

A file is written whole or not at all, so a run that was killed goes on with what is missing, and a
table can be made from what is there. All files of a folder belong to one experiment: its settings
stand in ``settings.json``, and a folder of other settings is refused.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from captum_tfa.whole_file import whole_file

_FORMAT, _VERSION = "captum_tfa.retraining", 1
_SETTINGS, _ENDING = "settings.json", ".safetensors"
_NAME = re.compile(r"\w[\w ,.=+()-]*")


class Run(NamedTuple):
    """What one model left.

    Attributes:
        tensors: By name.
        facts: Numbers and words about it, as JSON holds them.
    """

    tensors: dict[str, Tensor]
    facts: dict[str, Any]


class RunFolder:
    """The folder of one experiment; made if it does not exist.

    Args:
        directory: New, empty, or of an earlier run of the same experiment.
        settings: All that the results depend on: numbers, words, and lists or dicts of them. None
            takes those that stand in the folder.

    Raises:
        FileNotFoundError: Without settings: the folder holds no experiment.
        FileExistsError: It is a file, or holds something else.
        TypeError: Settings that JSON cannot hold.
        ValueError: It belongs to an experiment of other settings.
    """

    def __init__(
        self, directory: str | os.PathLike[str], settings: Mapping[str, Any] | None = None
    ) -> None:
        self.path = Path(directory).expanduser()
        there = self._settings_there()
        if settings is None:
            if there is None:
                raise FileNotFoundError(
                    f"{self.path} holds no {_SETTINGS}; name the folder of an experiment"
                )
            self.settings = there
            return
        self.settings = _as_json(settings)
        if there is None:
            self.path.mkdir(parents=True, exist_ok=True)
            text = {"format": _FORMAT, "format_version": _VERSION, "settings": self.settings}
            with whole_file(self.path / _SETTINGS) as file:
                file.write_bytes((json.dumps(text, indent=2) + "\n").encode())
        elif there != self.settings:
            raise ValueError(
                f"{self.path} belongs to an experiment of other settings: "
                f"{_differences(there, self.settings)}. Name another folder, or take its settings"
            )

    def names(self) -> list[str]:
        """The names of all that were written, sorted."""
        files = self.path.glob(f"*{_ENDING}")
        return sorted(f.name[: -len(_ENDING)] for f in files if not f.name.startswith("."))

    def read(self, name: str) -> Run | None:
        """What was written under this name; None if nothing was.

        Raises:
            ValueError: The file is broken, or belongs to an experiment of other settings.
        """
        file = self._file(name)
        if not file.is_file():
            return None
        try:
            with safe_open(file, "pt") as opened:
                tensors = {key: opened.get_tensor(key) for key in opened.keys()}  # noqa: SIM118
                facts = json.loads((opened.metadata() or {})["facts"])
                settings = facts.pop("settings")
        except (SafetensorError, KeyError, ValueError, OSError) as error:
            raise ValueError(
                f"{file} is no file of an experiment, or a broken one ({error!r}); delete it, and "
                "it will be measured again"
            ) from error
        if settings != self.settings:
            raise ValueError(
                f"{file} was written with other settings than its folder: "
                f"{_differences(settings, self.settings)}. Move it to where it belongs"
            )
        return Run(tensors, facts)

    def write(self, name: str, tensors: Mapping[str, Tensor], facts: Mapping[str, Any]) -> None:
        """Keeps what one model left: whole, or not at all.

        Raises:
            ValueError: A name that is no name of a file.
        """
        whole = {"facts": json.dumps({**facts, "settings": self.settings}, allow_nan=False)}
        plain = {key: tensor.detach().cpu().contiguous() for key, tensor in tensors.items()}
        with whole_file(self._file(name)) as file:
            file.write_bytes(save(plain, whole))

    def _file(self, name: str) -> Path:
        if not _NAME.fullmatch(name):
            raise ValueError(
                f"{name!r} cannot name a file; take letters, digits, blanks and any of , . = + - "
                "( ) _, beginning with a letter or digit"
            )
        return self.path / f"{name}{_ENDING}"

    def _settings_there(self) -> dict[str, Any] | None:
        if not self.path.exists():
            return None
        if not self.path.is_dir():
            raise FileExistsError(f"{self.path} is a file; name a folder that is new or empty")
        try:
            text = json.loads((self.path / _SETTINGS).read_text(encoding="utf-8"))
            if (text["format"], text["format_version"]) == (_FORMAT, _VERSION):
                return dict(text["settings"])
        except FileNotFoundError:
            if not any(not entry.name.startswith(".") for entry in self.path.iterdir()):
                return None
        except (ValueError, TypeError, KeyError):
            pass
        raise FileExistsError(
            f"{self.path} holds something else than an experiment of this package and version; "
            "name a folder that is new or empty"
        )


def _as_json(settings: Mapping[str, Any]) -> dict[str, Any]:
    try:
        return dict(json.loads(json.dumps(dict(settings), allow_nan=False)))
    except (TypeError, ValueError) as error:
        raise TypeError(
            f"settings cannot be written as JSON ({error}); give finite numbers, words, and lists "
            "or dicts of them"
        ) from error


def _differences(there: Mapping[str, Any], ours: Mapping[str, Any]) -> str:
    """Both sides of every setting that differs."""
    absent = object()
    told = [
        f"{key}: {there.get(key, '(none)')!r} in the folder, {ours.get(key, '(none)')!r} now"
        for key in sorted({*there, *ours})
        if there.get(key, absent) != ours.get(key, absent)
    ]
    return "; ".join(told)
