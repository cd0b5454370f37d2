"""``ΦᵀΦ / N`` of an index: which directions of the projected space its gradients fill.

It takes a pass over the index and is kept beside it for the next time.
"""

from __future__ import annotations

import uuid
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from captum_tfa.index.gradient_index import GradientIndex

_FILE = "second_moment.safetensors"


def second_moment(index: GradientIndex) -> Tensor:
    """``ΦᵀΦ / N``, ``[D, D]``, float64, on the CPU; from a file if it was computed before.

    Args:
        index: the finished index.

    Raises:
        ValueError: the index is not finished, or a file is missing or has been cut.
    """
    identity = f"{index.settings.count} {index.settings.sample} {index.settings.model}"
    file = index.folder / _FILE
    kept = _read(file, identity)
    if kept is not None:
        return kept
    total = torch.zeros(index.dimension, index.dimension, dtype=torch.float64)
    for rows in index.chunks():
        for part in rows.projections(torch.device("cpu")):
            # Numbers that were rounded to float16 gain nothing from products in float64.
            part = part if index.settings.precision == "float16" else part.double()
            total += part.T @ part
    total /= len(index)
    _write(file, total, identity)
    return total


class Preconditioner:
    """``u ↦ (ΦᵀΦ/N + λ)⁻¹ u`` in the projected space.

    Args:
        moment: ``ΦᵀΦ / N``, ``[D, D]``.
        damping: ``ρ``, at least 0; ``λ = ρ · tr(ΦᵀΦ/N) / D``.

    Raises:
        ValueError: ``ρ`` is below 0, or the matrix has no inverse.
    """

    def __init__(self, moment: Tensor, damping: float) -> None:
        if isinstance(damping, bool) or not 0 <= damping < float("inf"):
            raise ValueError(f"damping is {damping!r}; it must be a number of at least 0.")
        self.damping = float(damping)
        #: ``λ``.
        self.added = damping * float(moment.diagonal().mean())
        damped = moment.clone()
        damped.diagonal().add_(self.added)
        self._factor, failed = torch.linalg.cholesky_ex(damped)
        if int(failed):
            raise ValueError(
                f"ΦᵀΦ/N + λ has no inverse with damping {damping:g}: there are fewer independent "
                f"gradients than dimensions ({len(moment)}). Give a larger damping, such as 0.1."
            )

    def solve(self, vectors: Tensor) -> Tensor:
        """``(ΦᵀΦ/N + λ)⁻¹ u`` of rows ``[M, D]``, in float64."""
        return torch.cholesky_solve(vectors.double().T, self._factor).T


def _read(file: Path, identity: str) -> Tensor | None:
    try:
        with safe_open(file, framework="pt") as opened:
            if (opened.metadata() or {}).get("of") != identity:
                return None
            found: Tensor = opened.get_tensor("moment")
            return found
    except (FileNotFoundError, SafetensorError, OSError):
        return None


def _write(file: Path, moment: Tensor, identity: str) -> None:
    new = file.with_name(f".{file.name}.{uuid.uuid4().hex[:12]}.new")
    try:
        save_file({"moment": moment}, new, metadata={"of": identity})
        new.replace(file)
    except (OSError, SafetensorError):  # a folder that is for reading only: it is computed again
        new.unlink(missing_ok=True)
