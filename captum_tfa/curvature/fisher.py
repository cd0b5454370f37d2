"""The Fisher matrix of ``n`` gradients, solved with by Woodbury's identity.

    F = GᵀG / n ,   (F + λI)⁻¹ v = (v − Gᵀ (GGᵀ + nλI)⁻¹ G v) / λ ,   G [n, P]

Only ``GGᵀ [n, n]`` is decomposed. Where ``G`` fits in memory it is kept; where it does not, the
examples are kept instead and their gradients computed again: see `PassedGradients`.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from captum_tfa.curvature.curvature import Curvature
from captum_tfa.curvature.eigen import eigen
from captum_tfa.curvature.fingerprint import Fingerprint
from captum_tfa.curvature.gradient_matrix import (
    GradientMatrix,
    KeptGradients,
    PassedGradients,
)
from captum_tfa.curvature.kept_examples import examples_in, kept_examples
from captum_tfa.curvature.precision import summable
from captum_tfa.curvature.samples import Samples
from captum_tfa.gradients.losses import ExampleLosses
from captum_tfa.gradients.terms import Term

# Gradients are kept if they take no more bytes; of larger ones so many are held at a time.
MOST_BYTES = 2**31
# Decomposing a larger matrix would take longer than fitting another kind.
MOST_EXAMPLES = 8192

_VALUES, _VECTORS, _GRADIENTS = "gram:values", "gram:vectors", "gradients"


class FisherCurvature(Curvature):
    """``GᵀG / n``, by the eigenvalues and eigenvectors of ``GGᵀ``.

    Args:
        fingerprint: as for `Curvature`.
        tensors: ``gram:values [n]``, ``gram:vectors [n, n]``, and either ``gradients [n, P]`` or
            ``labels [n, ...]`` with ``input:0 [n, ...]`` and so on.
        damping: as for `Curvature`.
        model: the model, for gradients that are not kept.
        losses: its loss.
    """

    kind = "fisher"

    def __init__(
        self,
        fingerprint: Fingerprint,
        tensors: Mapping[str, Tensor],
        damping: float,
        model: nn.Module,
        losses: ExampleLosses,
    ) -> None:
        self._model, self._losses = model, losses
        # What is taken from v is nearly v itself in the direction of the greatest eigenvalue.
        self.rounding = torch.finfo(tensors[_VALUES].dtype).eps
        super().__init__(fingerprint, tensors, damping)

    @classmethod
    def fitted(cls, samples: Samples, fingerprint: Fingerprint, damping: float) -> Curvature:
        """As `Curvature.fitted`."""
        count = len(samples)
        if count > MOST_EXAMPLES:
            raise ValueError(
                f"kind='fisher' was given {count} examples; it decomposes a matrix of so many rows "
                f"and columns and takes up to {MOST_EXAMPLES}. Pass max_examples=1500 (a few "
                "hundred often do), or another kind."
            )
        widths = _parts(list(fingerprint.shapes.values()), count, samples.chosen)
        gram = torch.zeros(count, count, dtype=torch.float64)
        for number, (start, stop) in enumerate(widths):
            what = "fisher: gradients"
            if len(widths) > 1:
                what += f", part {number + 1} of {len(widths)}"
            found = columns(samples, what, start, stop)
            gram += (found @ found.T).double().cpu()
        values, vectors = eigen(gram)
        first = next(iter(samples.chosen.values()))
        tensors = {
            _VALUES: values.clamp(min=0).to(summable(first)),
            _VECTORS: vectors.to(summable(first)),
        }
        if len(widths) == 1:
            tensors[_GRADIENTS] = found
        else:
            tensors |= kept_examples(samples, "fisher: examples")
        return cls(fingerprint, tensors, damping, samples.model, samples.losses)

    @classmethod
    def loaded(
        cls,
        fingerprint: Fingerprint,
        tensors: Mapping[str, Tensor],
        damping: float,
        model: nn.Module,
        losses: ExampleLosses,
    ) -> Curvature:
        """As `Curvature.loaded`."""
        return cls(fingerprint, tensors, damping, model, losses)

    def _found_trace(self) -> float:
        return float(self._tensors[_VALUES].double().mean())

    def _least_and_greatest(self) -> tuple[float, float]:
        # Woodbury's identity divides by λ, so not even a full F does without damping.
        values = self._tensors[_VALUES]
        return 0.0, float(values[-1]) / len(values)

    def _solve(self, vectors: dict[str, Tensor]) -> dict[str, Tensor]:
        like = next(iter(vectors.values()))
        values, basis = (self._tensors[part].to(like) for part in (_VALUES, _VECTORS))
        matrix, damping = self._matrix(), self.absolute_damping
        inside = basis.T @ matrix.times(vectors)
        weights = basis @ (inside / (values + len(values) * damping).unsqueeze(1))
        parts = matrix.transposed(weights, vectors)
        return {name: (vector - parts[name]) / damping for name, vector in vectors.items()}

    def _matrix(self) -> GradientMatrix:
        if _GRADIENTS in self._tensors:
            return KeptGradients(self._tensors[_GRADIENTS])
        self.check_model(self._model)
        inputs, labels = examples_in(self._tensors)
        return PassedGradients(self._model, self._losses, self.names, inputs, labels)


def _parts(
    shapes: list[torch.Size], count: int, chosen: Mapping[str, Tensor]
) -> list[tuple[int, int]]:
    """Ranges of columns of ``G`` that fit in memory."""
    width = max(1, MOST_BYTES // (count * next(iter(chosen.values())).element_size()))
    total = sum(shape.numel() for shape in shapes)
    return [(start, min(total, start + width)) for start in range(0, total, width)]


@torch.no_grad()
def columns(samples: Samples, what: str, start: int, stop: int) -> Tensor:
    """Some columns of ``G``, ``[n, stop − start]``."""
    first = next(iter(samples.chosen.values()))
    found = summable(first.new_zeros(len(samples), stop - start))
    row = 0
    for terms in samples.terms(what):
        batch, offset = 0, 0
        for name, parameter in samples.chosen.items():
            low, high = max(start - offset, 0), min(stop - offset, parameter.numel())
            if name in terms and low < high:
                flat = terms[name].gradient().flatten(1)
                batch = len(flat)
                place = offset - start
                found[row : row + batch, place + low : place + high] = flat[:, low:high]
            offset += parameter.numel()
        row += batch or _batch_of(terms)
    return found


def _batch_of(terms: Mapping[str, Term]) -> int:
    return len(next(iter(terms.values())).gradient())
