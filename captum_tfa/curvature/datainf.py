"""DataInf: the mean of inverses in the place of the inverse of a mean [kwon2024datainf].

    (1/n) Σ_i (λI + g_i g_iᵀ)⁻¹ v = (1/nλ) Σ_i (v − g_i ⟨g_i, v⟩ / (λ + ‖g_i‖²)) ,   by layer

A layer is what one module owns: a weight with its bias. Nothing is decomposed, so it costs one pass
over the data and, to solve, two products with the gradients. The price: directions that all
examples share are taken out once for each example, and so nearly not at all among many.
"""

from __future__ import annotations

import torch
from torch import Tensor

from captum_tfa.curvature import fisher
from captum_tfa.curvature.curvature import Curvature
from captum_tfa.curvature.fingerprint import Fingerprint
from captum_tfa.curvature.samples import Samples
from captum_tfa.gradients.selection import by_layer

_GRADIENTS = "gradients"


class DatainfCurvature(Curvature):
    """The gradients ``gradients [n, P]``, taken together layer by layer.

    There is no ``H`` whose inverse this is; its damping is relative to ``E‖g‖² / P``.
    """

    kind = "datainf"

    @classmethod
    def fitted(cls, samples: Samples, fingerprint: Fingerprint, damping: float) -> Curvature:
        """As `Curvature.fitted`."""
        first = next(iter(samples.chosen.values()))
        size = len(samples) * fingerprint.count * first.element_size()
        if size > fisher.MOST_BYTES:
            fitting = fisher.MOST_BYTES // (fingerprint.count * first.element_size())
            raise ValueError(
                f"kind='datainf' keeps the gradients of {len(samples)} examples, "
                f"{size / 2**30:.1f} GiB, and takes up to {fisher.MOST_BYTES / 2**30:.1f} GiB. "
                f"Pass max_examples={max(1, fitting)}, or fewer parameters: parameters=['fc']."
            )
        matrix = fisher.columns(samples, "datainf: gradients", 0, fingerprint.count)
        return cls(fingerprint, {_GRADIENTS: matrix}, damping)

    @property
    def blocks(self) -> tuple[frozenset[str], ...]:
        """The layers."""
        return tuple(frozenset(names) for names in by_layer(self.names).values())

    def _found_trace(self) -> float:
        matrix = self._tensors[_GRADIENTS]
        return float(torch.linalg.vector_norm(matrix.double(), dim=1).square().mean())

    def _least_and_greatest(self) -> tuple[float, float]:
        return 0.0, self._trace  # it divides by λ, and is at most that

    def _solve(self, vectors: dict[str, Tensor]) -> dict[str, Tensor]:
        like = next(iter(vectors.values()))
        matrix, damping = self._tensors[_GRADIENTS].to(like), self.absolute_damping
        sizes = [vector[0].numel() for vector in vectors.values()]
        columns = dict(zip(vectors, matrix.split(sizes, 1), strict=True))
        solved: dict[str, Tensor] = {}
        for names in by_layer(self.names).values():
            squares = sum((columns[name].square().sum(1) for name in names), like.new_zeros(()))
            inner = sum(
                (columns[name] @ vectors[name].flatten(1).T for name in names), like.new_zeros(())
            )
            weights = inner / (len(matrix) * (damping + squares)).unsqueeze(1)
            for name in names:
                taken = (weights.T @ columns[name]).reshape(vectors[name].shape)
                solved[name] = (vectors[name] - taken) / damping
        return solved
