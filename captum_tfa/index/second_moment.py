"""``ΦᵀΦ / N`` of an index: which directions of the projected space its gradients fill.

It takes a pass over the index and is kept beside it for the next time.
"""

from __future__ import annotations

import torch
from torch import Tensor

from captum_tfa.index.gradient_index import GradientIndex
from captum_tfa.index.kept import read_kept, write_kept

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
    kept = read_kept(file, identity)
    if kept is not None:
        return kept["moment"]
    total = torch.zeros(index.dimension, index.dimension, dtype=torch.float64)
    for rows in index.chunks():
        for part in rows.projections(torch.device("cpu")):
            # Numbers that were rounded to float16 gain nothing from products in float64.
            part = part if index.settings.precision == "float16" else part.double()
            total += part.T @ part
    total /= len(index)
    write_kept(file, {"moment": total}, identity)
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
