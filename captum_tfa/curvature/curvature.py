"""What every stand-in for the Hessian is: a matrix ``H + λI`` that can be solved with.

``H`` belongs to the mean training loss, ``λ`` is the damping. A score with curvature puts
``(H + λI)⁻¹`` between the two gradients [koh2017understanding]. It acts on the test side, once a
test example, so a map or a ranking costs what it costs without.
"""

from __future__ import annotations

import copy
import math
import os
from abc import ABC, abstractmethod
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from captum_tfa.curvature.eigen import refuse_not_finite
from captum_tfa.curvature.fingerprint import Fingerprint
from captum_tfa.curvature.samples import Samples
from captum_tfa.gradients.losses import ExampleLosses


class Curvature(ABC):
    """``(H + λI)⁻¹`` for a model's parameters; made by `fit_curvature` or `load_curvature`.

    Args:
        fingerprint: of which model, loss, data and settings this is.
        tensors: what was fitted; which ones is each kind's own matter.
        damping: ``ρ``, relative to the mean eigenvalue of ``H``.
    """

    #: The name by which `fit_curvature` knows it.
    kind: ClassVar[str]
    #: What its greatest eigenvalue, times this, may be wrong by: eigenvalues that are kept one by
    #: one are not wrong by others.
    rounding: float = 0.0
    #: Whether labels may be drawn: it is made of gradients, not of second derivatives.
    of_gradients: ClassVar[bool] = True

    def __init__(
        self, fingerprint: Fingerprint, tensors: Mapping[str, Tensor], damping: float
    ) -> None:
        self.fingerprint, self.damping = fingerprint, damping
        self._tensors = dict(tensors)
        self._trace = self._found_trace()
        self._check()

    @classmethod
    @abstractmethod
    def fitted(cls, samples: Samples, fingerprint: Fingerprint, damping: float) -> Curvature:
        """Fit it to the gradients of training examples."""

    @classmethod
    def loaded(
        cls,
        fingerprint: Fingerprint,
        tensors: Mapping[str, Tensor],
        damping: float,
        model: nn.Module,
        losses: ExampleLosses,
    ) -> Curvature:
        """It as a file has it, for the very model to which it was fitted."""
        return cls(fingerprint, tensors, damping)

    @property
    def names(self) -> tuple[str, ...]:
        """The parameters' names, in the model's order."""
        return tuple(self.fingerprint.shapes)

    @property
    def blocks(self) -> tuple[frozenset[str], ...]:
        """Parameters by name, apart where ``H`` has nothing but zeros between them."""
        return (frozenset(self.names),)

    @property
    def absolute_damping(self) -> float:
        """``λ = ρ · tr(H) / P``: the damping times the mean eigenvalue of the whole ``H``."""
        return self.damping * self._trace / self.fingerprint.count

    def solve(self, vectors: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """``(H + λI)⁻¹ v`` for each of ``M`` vectors.

        Linear, symmetric, positive definite, and differentiable in the vectors any number of times.

        Args:
            vectors: by parameter name, each ``[M, *parameter.shape]``, in any floating precision
                and on any device, all the same. A parameter that is left out counts as zeros.

        Returns:
            For every one of `names` ``[M, *parameter.shape]``, in the vectors' precision and on
            their device.

        Raises:
            TypeError: something that is no real floating tensor.
            ValueError: an unknown name, a wrong shape, or tensors that do not match.
        """
        given = self._checked(vectors)
        solved = _Solve.apply(self, *given)
        return dict(zip(self.names, solved, strict=True))

    def with_damping(self, damping: float) -> Curvature:
        """The same curvature with another relative damping; nothing is fitted again.

        Args:
            damping: ``ρ``, at least 0.

        Raises:
            ValueError: it is negative or not finite, or too small for ``H + λI`` to be positive.
        """
        other = copy.copy(self)
        other.damping = checked_damping(damping)
        other._check()
        return other

    def to(self, device: torch.device | str) -> Curvature:
        """The same curvature with its tensors on another device."""
        other = copy.copy(self)
        other._tensors = {name: tensor.to(device) for name, tensor in self._tensors.items()}
        return other

    def check_model(self, model: nn.Module) -> None:
        """Raise if a model is not the one to which this curvature belongs, as it was.

        Raises:
            ValueError: other parameters or values; both sides are shown.
        """
        self.fingerprint.refuse_other_model(model)

    def save(self, file: str | os.PathLike[str]) -> Path:
        """Write it to a safetensors file, whole or not at all; `load_curvature` reads it.

        Args:
            file: its path; folders that are missing are made. An earlier curvature there is
                replaced.

        Returns:
            The path without links.

        Raises:
            FileExistsError: something that is no curvature is there.
        """
        from captum_tfa.curvature.saving import save  # it knows all kinds

        return save(self, file)

    def stored(self) -> dict[str, Tensor]:
        """The tensors that a file must hold."""
        return self._tensors

    @abstractmethod
    def _found_trace(self) -> float:
        """``tr(H)``."""

    @abstractmethod
    def _least_and_greatest(self) -> tuple[float, float]:
        """The least and the greatest eigenvalue of ``H``, or bounds of them."""

    @abstractmethod
    def _solve(self, vectors: dict[str, Tensor]) -> dict[str, Tensor]:
        """As `solve`, for vectors of all parameters, without a graph."""

    def _check(self) -> None:
        """Raise if ``H + λI`` is not positive definite."""
        refuse_not_finite(torch.tensor(self._trace))
        least, greatest = self._least_and_greatest()
        added = self.absolute_damping
        if added < 0 or not least + added > self.rounding * abs(greatest):
            raise ValueError(
                f"H + λI is not positive definite: the least eigenvalue of H ({self.kind}) is "
                f"{least:.3g}, and damping={self.damping:g} makes λ = {added:.3g}. {self._remedy()}"
            )

    def _remedy(self) -> str:
        if self._trace <= 0:
            return (
                "The mean eigenvalue is not positive, so no relative damping helps. Every gradient "
                "may be zero, or the model be far from a minimum: then take kind='ggn'."
            )
        return "Raise damping."

    def _checked(self, vectors: Mapping[str, Tensor]) -> list[Tensor]:
        """The vectors of all parameters, in the order of `names`."""
        unknown = [name for name in vectors if name not in self.fingerprint.shapes]
        if unknown or not vectors:
            raise ValueError(
                f"vectors has {', '.join(map(repr, unknown)) or 'nothing in it'}; this curvature "
                f"was fitted for {_some(self.names)}."
            )
        first = next(iter(vectors.values()))
        for name, vector in vectors.items():
            if not isinstance(vector, Tensor) or not vector.is_floating_point():
                given = vector.dtype if isinstance(vector, Tensor) else type(vector).__name__
                raise TypeError(f"vectors[{name!r}] is {given}; it must be a real floating tensor.")
            shape = self.fingerprint.shapes[name]
            if vector.ndim == 0 or vector.shape[1:] != shape:
                raise ValueError(
                    f"vectors[{name!r}] has shape {list(vector.shape)}; M vectors of this "
                    f"parameter have shape {['M', *shape]}."
                )
            if (len(vector), vector.dtype, vector.device) != (
                len(first),
                first.dtype,
                first.device,
            ):
                raise ValueError(
                    f"vectors[{name!r}] holds {len(vector)} vectors, {vector.dtype}, on "
                    f"{vector.device}; the first one {len(first)}, {first.dtype}, on "
                    f"{first.device}. All must be alike."
                )
        return [
            vectors[name] if name in vectors else first.new_zeros(len(first), *shape)
            for name, shape in self.fingerprint.shapes.items()
        ]


class _Solve(torch.autograd.Function):
    """A symmetric linear map: its adjoint is the map itself."""

    @staticmethod
    def forward(ctx: Any, curvature: Curvature, *vectors: Tensor) -> tuple[Tensor, ...]:
        ctx.curvature = curvature
        by_name = dict(zip(curvature.names, vectors, strict=True))
        if not len(vectors[0]):
            return tuple(torch.zeros_like(vector) for vector in vectors)
        with torch.no_grad(), torch.autocast(vectors[0].device.type, enabled=False):
            solved = curvature._solve(by_name)
        return tuple(solved[name] for name in curvature.names)

    @staticmethod
    def backward(ctx: Any, *adjoints: Tensor) -> tuple[Tensor | None, ...]:
        return None, *_Solve.apply(ctx.curvature, *adjoints)


def checked_damping(damping: object) -> float:
    """A relative damping as a number.

    Raises:
        TypeError: it is no number.
        ValueError: it is negative or not finite.
    """
    if isinstance(damping, bool) or not isinstance(damping, int | float):
        raise TypeError(f"damping is a {type(damping).__name__}; give a number of at least 0.")
    if not (math.isfinite(damping) and damping >= 0):
        raise ValueError(
            f"damping is {damping:g}; it must be a finite number of at least 0: how many times the "
            "mean eigenvalue of H is added to all of them."
        )
    return float(damping)


def _like(vectors: Tensor) -> tuple[object, ...]:
    return len(vectors), vectors.dtype, vectors.device


def _some(names: tuple[str, ...]) -> str:
    return f"{', '.join(names[:6])}{', ...' if len(names) > 6 else ''}"
