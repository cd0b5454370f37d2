"""The Hessian by its greatest eigenvalues, found by Arnoldi's method [schioppa2022scaling].

    H ≈ V diag(Λ) Vᵀ ,   (H + λI)⁻¹ v = (v − V diag(Λ / (Λ + λ)) Vᵀ v) / λ

Each step is a pass over the data, which multiplies one vector by the Hessian of the mean loss. The
steps span a small space in which the ends of the spectrum show first, so of what is found there the
highest quarter is kept, or all of it once the space holds every image of itself. Eigenvalues of 0
and below are left out: no model of practice stands at a minimum of its loss. The source leaves out
what is orthogonal to ``V`` altogether; here ``H`` is 0 there, and what is left is damping alone.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from captum_tfa.curvature.curvature import Curvature
from captum_tfa.curvature.eigen import eigen, refuse_not_finite
from captum_tfa.curvature.fingerprint import Fingerprint
from captum_tfa.curvature.flat import by_parameter, flattened
from captum_tfa.curvature.samples import Samples
from captum_tfa.gradients.modes import differentiating
from captum_tfa.gradients.plain_pass import plain_pass

# The vectors of all steps are held at once.
MOST_BYTES = 2**31
# Of so many steps one eigenvector is kept: the others are not yet what they will be.
STEPS_FOR_ONE = 4

_VALUES, _VECTORS = "values", "vectors"


class ArnoldiCurvature(Curvature):
    """``V diag(Λ) Vᵀ``; its tensors are ``values [r]`` and ``vectors [r, P]``."""

    kind = "arnoldi"
    of_gradients = False

    @classmethod
    def fitted(cls, samples: Samples, fingerprint: Fingerprint, damping: float) -> Curvature:
        """As `Curvature.fitted`."""
        settings = fingerprint.settings
        steps = min(settings["iterations"], fingerprint.count)
        first = next(iter(samples.chosen.values()))
        _refuse_large(steps, fingerprint.count * first.element_size())
        values, vectors = _eigenpairs(samples, steps, settings["tolerance"], settings["seed"])
        return cls(fingerprint, {_VALUES: values, _VECTORS: vectors}, damping)

    def _found_trace(self) -> float:
        return math.fsum(self._tensors[_VALUES].double().tolist())

    def _least_and_greatest(self) -> tuple[float, float]:
        # What is orthogonal to V has damping alone, by which all is divided.
        return 0.0, float(self._tensors[_VALUES].max()) if len(self._tensors[_VALUES]) else 0.0

    def _solve(self, vectors: dict[str, Tensor]) -> dict[str, Tensor]:
        flat, damping = flattened(vectors), self.absolute_damping
        values, basis = (self._tensors[part].to(flat) for part in (_VALUES, _VECTORS))
        inside = flat @ basis.T * (values / (values + damping))
        return by_parameter((flat - inside @ basis) / damping, vectors)


def _eigenpairs(samples: Samples, steps: int, tolerance: float, seed: int) -> tuple[Tensor, Tensor]:
    """Eigenvalues above 0, falling, and eigenvectors as rows."""
    first = next(iter(samples.chosen.values()))
    count = sum(parameter.numel() for parameter in samples.chosen.values())
    start = _start(count, seed).to(first)
    basis = first.new_zeros(steps, count, requires_grad=False)
    basis[0] = start / start.norm()
    projected = torch.zeros(steps, steps, dtype=torch.float64)
    found, whole = steps, False
    for step in range(steps):
        image = _image(samples, basis[step], f"arnoldi: step {step + 1} of {steps}")
        refuse_not_finite(image)
        known = basis[: step + 1]
        inside = known @ image
        left = image - inside @ known
        again = known @ left  # once more: rounding leaves some of it
        left = left - again @ known
        projected[: step + 1, step] = (inside + again).double().cpu()
        size = float(left.norm())
        if size <= tolerance * float(projected.abs().max()):
            found, whole = step + 1, True
            break
        if step + 1 < steps:
            basis[step + 1] = left / size
    whole = whole or found == count
    # H is symmetric, so what is below the diagonal is what is above it.
    upper = projected[:found, :found].triu()
    values, turns = eigen(upper + upper.triu(1).T)
    most = found if whole else -(-found // STEPS_FOR_ONE)
    rounding = torch.finfo(first.dtype).eps * float(values.abs().max())
    kept = (values[-most:] > rounding).nonzero().flatten().flip(0) + found - most
    return values[kept].to(first), turns[:, kept].T.to(first) @ basis[:found]


def _start(count: int, seed: int) -> Tensor:
    """The vector ``[P]`` with which the search begins."""
    draw = torch.Generator().manual_seed(seed)
    return torch.randn(count, generator=draw, dtype=torch.float64)


def _image(samples: Samples, vector: Tensor, what: str) -> Tensor:
    """``H v`` for one vector ``[P]``: the derivative of the gradient along it."""
    parameters = list(samples.chosen.values())
    parts = [
        part.view_as(parameter)
        for part, parameter in zip(
            vector.split([parameter.numel() for parameter in parameters]), parameters, strict=True
        )
    ]
    total = torch.zeros_like(vector)
    for inputs, labels in samples.labelled(what):
        with differentiating(labels.device):
            with plain_pass(samples.model) as model:
                loss = samples.losses(model(*inputs), labels).sum()
            gradients = torch.autograd.grad(
                loss, parameters, create_graph=True, allow_unused=True, materialize_grads=True
            )
            along = sum(
                ((gradient * part).sum() for gradient, part in zip(gradients, parts, strict=True)),
                torch.zeros_like(loss),
            )
            if not along.requires_grad:  # linear in every parameter
                continue
            second = torch.autograd.grad(
                along, parameters, allow_unused=True, materialize_grads=True
            )
            total += torch.cat([part.reshape(-1) for part in second])
    return total / len(samples)


def _refuse_large(steps: int, bytes_of_one: int) -> None:
    if steps * bytes_of_one > MOST_BYTES:
        raise ValueError(
            f"kind='arnoldi' holds a vector of all parameters for each of iterations={steps} "
            f"steps, {steps * bytes_of_one / 2**30:.1f} GiB, and takes up to "
            f"{MOST_BYTES / 2**30:.1f} GiB. Pass iterations={max(1, MOST_BYTES // bytes_of_one)}, "
            "or fewer parameters: parameters=['fc']."
        )
