"""Fit a curvature to training data: one function for every kind."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Literal, get_args

import torch
from torch import nn
from torch.utils.data import DataLoader, Dataset

from captum_tfa.curvature.curvature import Curvature, checked_damping
from captum_tfa.curvature.examples import Examples
from captum_tfa.curvature.fingerprint import Fingerprint, loss_words, model_hash
from captum_tfa.curvature.kinds import KINDS
from captum_tfa.curvature.samples import Labels, Samples
from captum_tfa.gradients import outside_inference_mode
from captum_tfa.gradients.losses import ExampleLosses, LossFn, OutputFn
from captum_tfa.gradients.problems import refuse_problems
from captum_tfa.gradients.selection import ParameterChoice, choose

Kind = Literal["hessian", "ggn", "fisher", "diagonal", "kfac", "ekfac", "cg", "arnoldi", "datainf"]


@outside_inference_mode
def fit_curvature(
    model: nn.Module,
    train_dataset: Dataset[Any] | DataLoader[Any],
    kind: Kind = "ekfac",
    damping: float = 0.1,
    labels: Labels = "sampled",
    max_examples: int | None = None,
    parameters: ParameterChoice = None,
    loss_fn: LossFn | str | None = None,
    output_fn: OutputFn | None = None,
    seed: int = 0,
    batch_size: int = 64,
    tolerance: float = 1e-4,
    iterations: int = 200,
    show_progress: bool = False,
) -> Curvature:
    """A stand-in for the Hessian of the mean training loss, damped.

    The model comes back as it was, and so do all random number generators.

    Args:
        model: the trained model, in evaluation mode.
        train_dataset: pairs ``(input, label)``: a dataset with a length, or a loader of one, whose
            batches, workers and collation are then used. A model with several inputs takes
            ``((input, ...), label)``.
        kind: ``"ekfac"`` or ``"kfac"`` (Kronecker factors, the diagonal for what has none),
            ``"diagonal"``, ``"fisher"`` (the exact Fisher matrix of as many gradients as there
            are examples), ``"hessian"`` and ``"ggn"`` (exact and dense, for small models), or
            ``"cg"`` (the generalised Gauss-Newton matrix, never formed), ``"arnoldi"`` (the
            greatest eigenvalues of the Hessian), or ``"datainf"`` (a mean of inverses, by layer).
        damping: ``ρ``, at least 0; ``λ = ρ · tr(H) / P`` is added to every eigenvalue.
        labels: ``"sampled"`` draws one label an example from the model, which makes the Fisher
            matrix the true one; ``"true"`` takes the data's (the empirical Fisher matrix).
            ``hessian``, ``ggn``, ``cg`` and ``arnoldi`` are no means over gradients: for them it
            says nothing.
        max_examples: how many examples to use, drawn without repetition; ``None`` uses all.
        parameters: which parameters count, as for a score. ``None``: every trainable one.
        loss_fn: as for a score. ``None``: cross-entropy.
        output_fn: as for a score.
        seed: of the examples that are drawn and of their labels, at least 0. What is drawn for an
            example does not depend on ``batch_size``.
        batch_size: examples at once, for a dataset.
        tolerance: for ``cg``, the relative residual at which a solution counts, above 0. For
            ``arnoldi``, how much of a step, relative to the greatest eigenvalue, must be new for
            the search to go on.
        iterations: for ``cg`` and ``arnoldi``, how many steps they may take at most, at least 1;
            a step is a pass over the data.
        show_progress: whether each pass over the data shows a progress bar.

    Returns:
        The curvature; `Curvature.solve` applies ``(H + λI)⁻¹``.

    Raises:
        TypeError: an argument of the wrong kind.
        ValueError: an argument out of its range, a model without parameter gradients of single
            examples, labels that cannot be drawn for this loss, a model too large for a dense
            kind, or ``H + λI`` that is not positive definite.
        RuntimeError: gradients that are not finite.
    """
    if not isinstance(kind, str) or kind not in KINDS:
        raise ValueError(f"kind is {kind!r}; it must be one of {', '.join(KINDS)}.")
    if labels not in get_args(Labels):
        raise ValueError(f"labels is {labels!r}; it must be 'sampled' or 'true'.")
    if isinstance(seed, bool) or not isinstance(seed, int):
        raise TypeError(f"seed is a {type(seed).__name__}; give a whole number.")
    if not 0 <= seed < 2**63:
        raise ValueError(f"seed is {seed}; it must be at least 0 and below 2**63.")
    if isinstance(iterations, bool) or not isinstance(iterations, int) or iterations < 1:
        raise ValueError(f"iterations is {iterations!r}; it must be a whole number of at least 1.")
    if isinstance(tolerance, bool) or not isinstance(tolerance, int | float) or not tolerance > 0:
        raise ValueError(f"tolerance is {tolerance!r}; it must be above 0.")
    damping = checked_damping(damping)
    refuse_problems(model)
    if isinstance(parameters, Iterator):
        parameters = list(parameters)  # it will be gone through more than once
    chosen = choose(model, parameters)
    losses = ExampleLosses(loss_fn, output_fn)
    device = next(iter(chosen.values())).device
    if device.type == "meta":
        raise ValueError(
            "The model is on the meta device: its parameters have shapes and no values. Load its "
            "weights first: model.to_empty(device='cpu'), then model.load_state_dict(...)."
        )
    examples = Examples(train_dataset, batch_size, max_examples, seed, device)
    made = KINDS[kind]
    drawn: Labels = labels if made.of_gradients else "true"
    samples = Samples(model, losses, list(chosen), examples, drawn, show_progress)
    fingerprint = Fingerprint(
        {name: parameter.shape for name, parameter in chosen.items()},
        model_hash(model),
        loss_words(losses),
        examples.words(),
        {
            "labels": drawn,
            "seed": seed,
            "batch_size": batch_size,
            "tolerance": tolerance,
            "iterations": iterations,
        },
    )
    with torch.random.fork_rng(devices=[]):  # also for models that draw numbers to no effect
        return made.fitted(samples, fingerprint, damping)
