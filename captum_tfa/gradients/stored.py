"""Gradients that are kept as constants, such as those of test examples."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from captum_tfa.gradients.rule import StoredTerm


@dataclass(frozen=True)
class StoredGradients:
    """The parameter gradients of ``M`` examples, kept to compare others with them.

    Attributes:
        by_name: for each parameter on which a loss depends.
        squares: ``‖g‖²``, ``[M]``.
    """

    by_name: Mapping[str, StoredTerm]
    squares: Tensor

    def select(self, rows: Tensor) -> StoredGradients:
        """Some of the examples, or some more than once; all of them in order as they are."""
        if rows.tolist() == list(range(len(self.squares))):
            return self
        selected = {name: gradient.select(rows) for name, gradient in self.by_name.items()}
        return StoredGradients(selected, self.squares[rows])

    def only(self, names: Collection[str]) -> StoredGradients:
        """The gradients of some of the parameters; those of the others count as zero."""
        return self._of({name: term for name, term in self.by_name.items() if name in names})

    def scaled(self, weights: Mapping[str, float]) -> StoredGradients:
        """Each parameter's gradient times its weight; without one it counts as zero.

        Args:
            weights: by parameter name.
        """
        return self._of(
            {
                name: StoredTerm(term.rule, term.inputs, weights[name] * term.delta)
                for name, term in self.by_name.items()
                if weights.get(name, 0) != 0
            }
        )

    def _of(self, by_name: Mapping[str, StoredTerm]) -> StoredGradients:
        squares = torch.zeros_like(self.squares)
        for term in by_name.values():
            squares = squares + term.squares
        return StoredGradients(by_name, squares)

    @classmethod
    def joined(cls, parts: Sequence[StoredGradients]) -> StoredGradients:
        """The gradients of several sets of examples, one after the other."""
        if len(parts) == 1:
            return parts[0]
        names = dict.fromkeys(name for part in parts for name in part.by_name)
        return cls(
            {name: _joined(name, parts) for name in names},
            torch.cat([part.squares for part in parts]),
        )


def _joined(name: str, parts: Sequence[StoredGradients]) -> StoredTerm:
    gradients = [part.by_name.get(name) for part in parts]
    known = [gradient for gradient in gradients if gradient is not None]
    if len(known) == len(parts) and _alike(known):
        inputs = zip(*(gradient.inputs for gradient in known), strict=True)
        return StoredTerm(
            known[0].rule,
            tuple(torch.cat(tensors) for tensors in inputs),
            torch.cat([gradient.delta for gradient in known]),
        )
    # Some examples may not use a parameter at all.
    nothing = torch.zeros_like(known[0].dense)
    dense = [nothing if gradient is None else gradient.dense for gradient in gradients]
    return StoredTerm(None, (), torch.cat(dense))


def _alike(gradients: Sequence[StoredTerm]) -> bool:
    """Whether all are factors of the same shapes: images of another size have others."""
    shapes = [
        (gradient.delta.shape[1:], *(tensor.shape[1:] for tensor in gradient.inputs))
        for gradient in gradients
    ]
    return all(gradient.rule is not None for gradient in gradients) and len(set(shapes)) == 1
