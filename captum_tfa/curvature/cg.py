"""The generalised Gauss-Newton matrix without forming it, by conjugate gradients.

``(H + λI) x = v`` is solved step by step; each step is a pass over the data that computes
``H p = E[Jᵀ (∂²L/∂f²) J p]``. No approximation but the tolerance, and the slowest kind: a solution
costs as many passes as steps. It must be told apart from what did not converge, so every solution
tells its residual ``‖v − (H + λI) x‖ / ‖v‖``, and one above the tolerance is refused.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from captum_tfa.curvature.curvature import Curvature
from captum_tfa.curvature.eigen import eigen
from captum_tfa.curvature.examples import Examples
from captum_tfa.curvature.fingerprint import Fingerprint
from captum_tfa.curvature.flat import by_parameter, flattened
from captum_tfa.curvature.kept_examples import KeptDataset, kept_examples
from captum_tfa.curvature.labels import drawn
from captum_tfa.curvature.output_hessian import outputs_of, second_derivatives
from captum_tfa.curvature.samples import Samples
from captum_tfa.gradients import GradientEngine
from captum_tfa.gradients.losses import ExampleLosses
from captum_tfa.gradients.modes import differentiating
from captum_tfa.gradients.plain_pass import plain_pass

_TRACE = "trace"


class CgCurvature(Curvature):
    """``H = E[Jᵀ (∂²L/∂f²) J]``, known by its products alone.

    It holds on to the model and to the training set, and its file holds the examples themselves.
    Its mean eigenvalue, to which the damping is relative, is estimated with one random direction
    in the outputs of each example.

    Attributes:
        residuals: ``‖v − (H + λI) x‖ / ‖v‖`` of each vector solved for last, ``[M]``; ``None``
            before.
    """

    kind = "cg"
    of_gradients = False

    def __init__(
        self,
        fingerprint: Fingerprint,
        tensors: Mapping[str, Tensor],
        damping: float,
        samples: Samples,
    ) -> None:
        self._samples = samples
        self.residuals: Tensor | None = None
        super().__init__(fingerprint, tensors, damping)

    @classmethod
    def fitted(cls, samples: Samples, fingerprint: Fingerprint, damping: float) -> Curvature:
        """As `Curvature.fitted`."""
        trace = torch.tensor(_trace(samples), dtype=torch.float64)
        return cls(fingerprint, {_TRACE: trace}, damping, samples)

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
        settings = fingerprint.settings
        device = next(model.parameters()).device
        data = KeptDataset(tensors)
        examples = Examples(data, settings["batch_size"], None, settings["seed"], device)
        samples = Samples(model, losses, list(fingerprint.shapes), examples, "true", False)
        return cls(fingerprint, {_TRACE: tensors[_TRACE]}, damping, samples)

    def stored(self) -> dict[str, Tensor]:
        """As `Curvature.stored`: the examples too."""
        return self._tensors | kept_examples(self._samples, "cg: examples")

    def _found_trace(self) -> float:
        return float(self._tensors[_TRACE])

    def _least_and_greatest(self) -> tuple[float, float]:
        return 0.0, self._trace

    def _solve(self, vectors: dict[str, Tensor]) -> dict[str, Tensor]:
        self.check_model(self._samples.model)
        flat = flattened(vectors)
        like = next(iter(self._samples.chosen.values()))
        damping, settings = self.absolute_damping, self.fingerprint.settings

        def product(rows: Tensor) -> Tensor:
            return _product(self._samples, rows) + damping * rows

        solved, self.residuals = conjugate_gradients(
            product, flat.to(like), settings["tolerance"], settings["iterations"]
        )
        return by_parameter(solved.to(flat), vectors)


def conjugate_gradients(
    product: Callable[[Tensor], Tensor], wanted: Tensor, tolerance: float, iterations: int
) -> tuple[Tensor, Tensor]:
    """The solutions of ``A x = v`` for the rows ``v`` of a tensor, and their residuals.

    Where the residual that is carried along has become small it is computed anew, since rounding
    makes the two drift apart; if it is not small then, the search goes on from there.

    Args:
        product: ``A``, symmetric and positive definite, applied to rows ``[M, P]``.
        wanted: ``[M, P]``.
        tolerance: of the relative residual.
        iterations: the most products.

    Returns:
        Solutions ``[M, P]`` and relative residuals ``[M]``.

    Raises:
        RuntimeError: no solution within the tolerance after so many products, or ``A`` is not
            positive definite.
    """
    sizes = _dot(wanted, wanted).sqrt()
    sizes = sizes.masked_fill(sizes == 0, 1)
    solved, residual = torch.zeros_like(wanted), wanted.clone()
    direction, square = residual, _dot(residual, residual)
    fresh = True
    for _ in range(iterations):
        if bool((square.sqrt() <= tolerance * sizes).all()):
            if fresh:
                return solved, square.sqrt() / sizes
            residual = wanted - product(solved)
            direction, square, fresh = residual, _dot(residual, residual), True
            continue
        image = product(direction)
        curved = _dot(direction, image)
        moving = square.sqrt() > tolerance * sizes
        if bool((curved[moving] <= 0).any()):
            raise RuntimeError(
                "kind='cg' met a direction without positive curvature, so its matrix is not "
                "positive definite: the loss is not convex in the model's outputs. Raise damping, "
                "or take a kind that is made of gradients: 'ekfac', 'fisher'."
            )
        step = torch.where(moving, square / curved, 0).to(wanted).unsqueeze(1)
        solved = solved + step * direction
        residual = residual - step * image
        before, square, fresh = square, _dot(residual, residual), False
        ratio = torch.where(moving, square / before, 0).to(wanted).unsqueeze(1)
        direction = residual + ratio * direction
    if fresh and bool((square.sqrt() <= tolerance * sizes).all()):
        return solved, square.sqrt() / sizes
    residual = wanted - product(solved)
    left = _dot(residual, residual).sqrt() / sizes
    if bool((left <= tolerance).all()):
        return solved, left
    raise RuntimeError(
        f"kind='cg' did not converge: after {iterations} iterations the relative residual is "
        f"{float(left.max()):.2g}, and tolerance={tolerance:g}. Raise damping or iterations, allow "
        "a larger tolerance, or use float64 (model.double())."
    )


def _dot(left: Tensor, right: Tensor) -> Tensor:
    """Inner products row by row, in float64."""
    return (left * right).sum(1, dtype=torch.float64)


def _product(samples: Samples, rows: Tensor) -> Tensor:
    """``E[Jᵀ (∂²L/∂f²) J p]`` for rows ``p [M, P]``."""
    parameters = list(samples.chosen.values())
    sizes = [parameter.numel() for parameter in parameters]
    total = torch.zeros_like(rows)
    for inputs, labels in samples.labelled("cg: product"):
        with differentiating(labels.device):
            with plain_pass(samples.model) as model:
                outputs = samples.losses.outputs(model(*inputs))
            weights = torch.ones_like(outputs, requires_grad=True)
            # Jᵀw is linear in w, so its derivative in w along p is Jp, whatever w is.
            back = _gradients(outputs, parameters, weights, create_graph=True)
            inner = second_derivatives(samples.losses, outputs, labels)
            for row, vector in enumerate(rows):
                parts = [
                    part.view_as(parameter)
                    for part, parameter in zip(vector.split(sizes), parameters, strict=True)
                ]
                (along,) = torch.autograd.grad(back, weights, parts, retain_graph=True)
                bent = torch.einsum("bij,bj->bi", inner, along.flatten(1))
                found = _gradients(outputs, parameters, bent.reshape(outputs.shape))
                total[row] += torch.cat([part.reshape(-1) for part in found])
    return total / len(samples)


def _gradients(
    outputs: Tensor, parameters: list[Any], weights: Tensor, create_graph: bool = False
) -> tuple[Tensor, ...]:
    return torch.autograd.grad(
        outputs,
        parameters,
        weights,
        create_graph=create_graph,
        retain_graph=True,
        allow_unused=True,
        materialize_grads=True,
    )


def _trace(samples: Samples) -> float:
    """``tr(H) = E‖Jᵀ R ε‖²`` with ``R Rᵀ = ∂²L/∂f²`` and random signs ``ε``."""

    def along(returned: Any, weights: Tensor | None) -> Tensor:
        assert weights is not None  # given below
        return (samples.losses.outputs(returned).flatten(1) * weights).sum(1)

    engine = GradientEngine(samples.model, along, samples.parameters)
    total = 0.0
    for batch in samples.examples.batches("cg: mean eigenvalue", samples.show_progress):
        outputs = outputs_of(samples, batch.inputs)
        inner = second_derivatives(samples.losses, outputs, batch.labels)
        values, vectors = eigen(inner)
        signs = drawn(torch.rand, values.shape, batch.seeds).to(values.device) < 0.5
        roots = values.clamp(min=0).sqrt() * (1 - 2 * signs.double())
        weights = torch.einsum("bij,bj->bi", vectors, roots).to(outputs)
        squares = engine.apply(
            lambda each: each.products(None, None).squares, batch.inputs, weights
        )
        total += float(squares.double().sum())
    return total / len(samples)
