"""From a gradient to a few numbers whose inner products stand for those of the gradients.

Every entry of a gradient is added to one of ``D`` buckets, with a sign: ``φ = Sg``, where ``S`` has
one ``±1`` in each column. With buckets and signs drawn by chance ``E⟨Sg, Sg'⟩ = ⟨g, g'⟩``, and the
variance is about ``‖g‖²‖g'‖² / D``.

The entry in row ``o`` and column ``k`` of a weight goes to bucket ``b(o) + c(k)`` modulo ``D`` with
the sign ``s(o) t(k)`` [pham2013fast]. So the projection of a layer's gradient ``Σ_t δ_t a_tᵀ`` is a
sum of circular convolutions of projected deltas with projected activations, which are products of
their Fourier transforms: activations and deltas are projected each, as LoGra does
[choe2024your], and no gradient is formed, unless the exact norm of a layer needs it anyway. Unlike
there all layers share the ``D`` numbers, so that none is squeezed into a few.
"""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor

from captum_tfa.gradients.gram import GramRule
from captum_tfa.gradients.rule import StoredTerm
from captum_tfa.index.integers import splitmix64, stream_key

# In multiplications of a matrix product: what a Fourier transform costs for each of the D numbers,
# and what adding one number to its bucket costs.
_TRANSFORM, _ADDITION = 150, 40
# So many numbers of projected factors are held at once.
_MOST_NUMBERS = 2**23


class Projection:
    """The map ``g ↦ φ = Sg`` from gradients to ``D`` numbers.

    It follows from the seed and the names of the parameters alone.

    Args:
        dimension: ``D``, at least 1.
        seed: of buckets and signs, at least 0.
    """

    def __init__(self, dimension: int, seed: int) -> None:
        self.dimension, self.seed = dimension, seed
        self._places: dict[tuple[str, torch.Size, torch.device], Tensor] = {}

    def of(self, gradients: Iterable[tuple[str, StoredTerm]]) -> tuple[Tensor, Tensor]:
        """The projections of gradients, and their exact squared norms.

        Args:
            gradients: of ``M`` examples, by parameter, as they are or as factors. Each is let go
                before the next is asked for.

        Returns:
            ``φ [M, D]`` and ``‖g‖² [M]``, in float32, or float64 for such models.
        """
        added: Tensor | None = None
        spectrum: Tensor | None = None
        squares: Tensor | None = None
        for name, gradient in gradients:
            own = gradient.squares
            squares = own if squares is None else squares + own
            factors = self._factors(gradient)
            if factors is None:
                part = self._added(name, gradient.dense)
                added = part if added is None else added.add_(part)
            else:
                part = self._spectrum(name, *factors)
                spectrum = part if spectrum is None else spectrum.add_(part)
        if squares is None:
            raise ValueError("No gradient was given to project.")
        if spectrum is not None:
            part = torch.fft.irfft(spectrum, n=self.dimension)
            added = part if added is None else added.add_(part)
        assert added is not None
        return added, squares

    def entries(self, name: str, shape: torch.Size) -> tuple[Tensor, Tensor]:
        """Where each entry of a parameter's gradient goes.

        Args:
            name: the parameter's.
            shape: likewise.

        Returns:
            Buckets in ``[0, D)`` and signs ±1, both int64 and of that shape, on the CPU.
        """
        rows = shape[0] if shape else 1
        columns = shape.numel() // max(rows, 1)
        row_buckets, row_signs = self._drawn(f"{name}:rows", rows)
        column_buckets, column_signs = self._drawn(f"{name}:columns", columns)
        buckets = (row_buckets[:, None] + column_buckets) % self.dimension
        signs = row_signs[:, None] * column_signs
        return buckets.reshape(shape), signs.reshape(shape)

    def back(self, vectors: Tensor, name: str, shape: torch.Size) -> Tensor:
        """One parameter's part of ``Sᵀu``: ``⟨Sg, u⟩ = ⟨g, Sᵀu⟩``.

        Args:
            vectors: ``u``, ``[M, D]``.
            name: the parameter's.
            shape: likewise.

        Returns:
            ``[M, *shape]``, on the device of ``u``.
        """
        places = self._places_of(name, shape, vectors.device)
        return torch.cat([vectors, -vectors], 1)[:, places].reshape(len(vectors), *shape)

    def _drawn(self, stream: str, count: int) -> tuple[Tensor, Tensor]:
        """Buckets and signs of rows or columns: the upper 63 bits, and the lowest."""
        numbers = splitmix64(stream_key(self.seed, stream), count)
        buckets = torch.from_numpy((numbers >> 1).astype("int64") % self.dimension)
        return buckets, 1 - 2 * torch.from_numpy((numbers & 1).astype("int64"))

    def _factors(self, gradient: StoredTerm) -> tuple[Tensor, Tensor] | None:
        """Activations ``[M, groups, T, K]`` and deltas ``[M, groups, T, O]`` where these are less.

        Where the norm needs the gradient itself it is here already, and no factors are.
        """
        rule = gradient.rule
        if not isinstance(rule, GramRule):
            return None
        sizes = rule.sizes(gradient.inputs, gradient.delta)
        if sizes is None:
            return None
        positions, inputs, outputs = sizes
        by_factors = positions * (_ADDITION * (inputs + outputs) + _TRANSFORM * self.dimension)
        formed = inputs * outputs * (positions + _ADDITION)
        if by_factors > formed:
            return None
        return rule.activations(gradient.inputs[0]), rule.deltas(gradient.delta)

    def _added(self, name: str, gradient: Tensor) -> Tensor:
        """The projection of one parameter's gradients ``[M, *shape]``, entry by entry."""
        flat = _in_full_precision(gradient.detach()).reshape(len(gradient), -1)
        places = self._places_of(name, gradient.shape[1:], gradient.device)
        # Entries with sign −1 are added apart, which saves a product over all of them.
        parts = flat.new_zeros(len(flat), 2 * self.dimension)
        parts.scatter_add_(1, places.expand(len(flat), -1), flat)
        difference: Tensor = parts[:, : self.dimension] - parts[:, self.dimension :]
        return difference

    def _places_of(self, name: str, shape: torch.Size, device: torch.device) -> Tensor:
        key = (name, shape, device)
        if key not in self._places:
            buckets, signs = self.entries(name, shape)
            places = torch.where(signs > 0, buckets, buckets + self.dimension)
            self._places[key] = places.flatten().to(device)
        return self._places[key]

    def _spectrum(self, name: str, activations: Tensor, deltas: Tensor) -> Tensor:
        """The Fourier transform of the projection of ``Σ_t δ_t a_tᵀ``, ``[M, D // 2 + 1]``."""
        groups, outputs = deltas.shape[1], deltas.shape[3]
        rows = self._drawn(f"{name}:rows", groups * outputs)
        columns = self._drawn(f"{name}:columns", activations.shape[3])
        numbers = len(deltas) * groups * self.dimension
        step = max(1, _MOST_NUMBERS // numbers)
        total: Tensor | None = None
        for some, others in zip(activations.split(step, 2), deltas.split(step, 2), strict=True):
            left = self._transformed(some, *columns)
            right = self._transformed(others, *(each.view(groups, 1, outputs) for each in rows))
            part = (left * right).sum((1, 2))
            total = part if total is None else total.add_(part)
        assert total is not None
        return total

    def _transformed(self, factor: Tensor, buckets: Tensor, signs: Tensor) -> Tensor:
        """The Fourier transforms of projected factors, ``[M, groups, T, D // 2 + 1]``."""
        values = _in_full_precision(factor.detach())
        values = values * signs.to(values)
        projected = values.new_zeros(*values.shape[:3], self.dimension)
        projected.scatter_add_(3, buckets.to(values.device).expand(values.shape), values)
        transformed: Tensor = torch.fft.rfft(projected)
        return transformed


def _in_full_precision(tensor: Tensor) -> Tensor:
    return tensor if tensor.dtype in (torch.float32, torch.float64) else tensor.float()
