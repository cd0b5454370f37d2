"""State dicts out of files: tensors alone, and those of this model.

Nothing but tensors is ever unpickled.
"""

from __future__ import annotations

import pickle
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

State = dict[str, Tensor]

# A checkpoint of a training run often holds the state dict under one of these names.
_INNER_NAMES = ("state_dict", "model_state_dict", "model")


def read_state(path: str | Path) -> State:
    """The tensors of a state-dict file, on the CPU, also from one level down.

    Args:
        path: a ``.safetensors``, ``.pt`` or ``.pth`` file.

    Raises:
        ValueError: there is no such file, or it is broken or holds anything but tensors.
    """
    path = Path(path).expanduser()
    if not path.is_file():
        what = "is a folder" if path.is_dir() else "does not exist"
        raise ValueError(f"{path} {what}; name a .pt, .pth or .safetensors file")
    try:
        path.open("rb").close()
    except OSError as error:
        raise ValueError(f"{path} cannot be read ({error.strerror})") from error
    return _tensors_in(_content(path), path)


def check_fits(state: Mapping[str, Tensor], model: nn.Module, source: object) -> None:
    """Raise unless a state is one of this model, and of finite numbers.

    Args:
        state: tensors by name.
        model: whose state it should be.
        source: what the state is called in the message.

    Raises:
        ValueError: names or shapes differ, or a number is NaN or infinite.
    """
    wanted = model.state_dict()
    missing = [key for key in wanted if key not in state]
    unknown = [key for key in state if key not in wanted]
    if missing or unknown:
        parts = [("lacks", missing), ("has unknown", unknown)]
        what = " and ".join(f"{verb} {_some(keys)}" for verb, keys in parts if keys)
        raise ValueError(f"{source} does not fit the model: it {what}; give one of this model")
    for key, tensor in state.items():
        if tensor.shape != wanted[key].shape:
            raise ValueError(
                f"{source} does not fit the model: {key} is {list(tensor.shape)} there and "
                f"{list(wanted[key].shape)} in the model; give one of this model"
            )
        if not torch.isfinite(tensor).all():
            raise ValueError(f"{source}: {key} holds NaN or infinity; the training went wrong")


def _content(path: Path) -> Any:
    if path.suffix == ".safetensors":
        try:
            return load_file(path)
        except (SafetensorError, OSError) as error:
            raise ValueError(f"{path} is no safetensors file ({error})") from error
    if path.suffix not in (".pt", ".pth"):
        raise ValueError(f"{path} ends in {path.suffix or 'nothing'}; .pt, .pth or .safetensors do")
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, RuntimeError, EOFError, OSError, ValueError, KeyError) as error:
        raise ValueError(
            f"{path} is no file of tensors alone, or is broken, and was not run; "
            "save the weights with torch.save(model.state_dict(), FILE)"
        ) from error


def _tensors_in(content: Any, path: Path) -> State:
    """The state dict in a file's content, also one level down and from under DataParallel."""
    if isinstance(content, Mapping):
        for name in _INNER_NAMES:
            if isinstance(content.get(name), Mapping):
                content = content[name]
                break
    if (
        not isinstance(content, Mapping)
        or not content
        or not all(
            isinstance(key, str) and isinstance(value, Tensor) for key, value in content.items()
        )
    ):
        raise ValueError(
            f"{path} holds no state dict; "
            "save the weights with torch.save(model.state_dict(), FILE)"
        )
    tensors = dict(content)
    nn.modules.utils.consume_prefix_in_state_dict_if_present(tensors, "module.")
    return tensors


def _some(keys: Sequence[str]) -> str:
    return ", ".join(keys[:3]) + (f" and {len(keys) - 3} more" if len(keys) > 3 else "")
