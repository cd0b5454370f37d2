"""A curvature as a safetensors file: written whole or not at all, read for its own model only."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import nn
from torch.utils.data import DataLoader, Dataset

from captum_tfa.curvature.curvature import Curvature
from captum_tfa.curvature.examples import Examples
from captum_tfa.curvature.fingerprint import Fingerprint, loss_words
from captum_tfa.curvature.kinds import KINDS
from captum_tfa.gradients.losses import ExampleLosses, LossFn, OutputFn
from captum_tfa.gradients.problems import refuse_problems
from captum_tfa.whole_file import whole_file

_FORMAT, _VERSION = "captum_tfa.curvature", 1


def load_curvature(
    file: str | os.PathLike[str],
    model: nn.Module,
    loss_fn: LossFn | str | None = None,
    output_fn: OutputFn | None = None,
    train_dataset: Dataset[Any] | DataLoader[Any] | None = None,
) -> Curvature:
    """The curvature that `Curvature.save` wrote, for the model to which it was fitted.

    Args:
        file: its path.
        model: the model, with the weights that it had.
        loss_fn: compared with the loss in the file if it is given. Kinds that go through the model
            again (``cg``, and ``fisher`` where gradients are not kept) need it, unless it is
            cross-entropy.
        output_fn: likewise.
        train_dataset: compared with the data in the file if it is given, by number and a sample.

    Returns:
        The curvature, on the model's device.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is no curvature, or it belongs to another model, loss or data; both sides
            are shown.
    """
    path = Path(file).expanduser()
    if not path.is_file():
        raise FileNotFoundError(f"{path} is no file; give the path that Curvature.save returned.")
    refuse_problems(model)
    header = _header(path)
    if header is None:
        raise ValueError(f"{path} is no curvature, or it is damaged; fit it again and save it.")
    fingerprint = Fingerprint(
        {name: torch.Size(shape) for name, shape in header["shapes"].items()},
        header["model"],
        header["loss"],
        header["data"],
        header["settings"],
    )
    fingerprint.refuse_other_model(model)
    losses = ExampleLosses(loss_fn, output_fn)
    if (loss_fn, output_fn) != (None, None) and loss_words(losses) != fingerprint.loss:
        raise ValueError(
            f"The curvature belongs to another loss: it was fitted with {fingerprint.loss}, and "
            f"{loss_words(losses)} was given. Give that loss, or fit it again."
        )
    if train_dataset is not None:
        _refuse_other_data(fingerprint, train_dataset)
    device = next(model.parameters()).device
    with safe_open(path, framework="pt", device=str(device)) as opened:
        tensors = {name: opened.get_tensor(name) for name in opened.keys()}  # noqa: SIM118
    made = KINDS[header["kind"]]
    return made.loaded(fingerprint, tensors, header["damping"], model, losses)


def save(curvature: Curvature, file: str | os.PathLike[str]) -> Path:
    """See `Curvature.save`."""
    target = Path(file).expanduser().resolve()
    if target.exists() and (not target.is_file() or _header(target) is None):
        raise FileExistsError(
            f"{target} is there and is no curvature; name a file that is new or a curvature."
        )
    fingerprint = curvature.fingerprint
    header = {
        "kind": curvature.kind,
        "damping": curvature.damping,
        "shapes": {name: list(shape) for name, shape in fingerprint.shapes.items()},
        "model": fingerprint.model,
        "loss": fingerprint.loss,
        "data": fingerprint.data,
        "settings": dict(fingerprint.settings),
    }
    metadata = {"format": _FORMAT, "version": str(_VERSION), "header": json.dumps(header)}
    tensors = {name: tensor.contiguous() for name, tensor in curvature.stored().items()}
    missing = [path for path in target.parents if not path.exists()]
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with whole_file(target) as new:
            save_file(tensors, new, metadata=metadata)
    except BaseException:
        for folder in missing:
            if folder.exists():
                folder.rmdir()
        raise
    return target


def _header(path: Path) -> dict[str, Any] | None:
    """What a file says of the curvature in it; ``None`` if it is none that can be read."""
    try:
        with safe_open(path, framework="pt") as opened:
            metadata = opened.metadata() or {}
    except (SafetensorError, OSError):
        return None
    if metadata.get("format") != _FORMAT or metadata.get("version") != str(_VERSION):
        return None
    header: dict[str, Any] = json.loads(metadata["header"])
    return header


def _refuse_other_data(fingerprint: Fingerprint, data: Any) -> None:
    used, seed = int(fingerprint.data.split()[0]), int(fingerprint.settings["seed"])
    total = len(getattr(data, "dataset", data))
    most = used if used < total else None
    found = Examples(data, 1, most, seed, torch.device("cpu")).words()
    if found != fingerprint.data:
        raise ValueError(
            f"The curvature belongs to other data: it was fitted to {fingerprint.data}, and "
            f"{found} were given. Give that data set, or fit it again."
        )
