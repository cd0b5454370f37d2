"""Can this model be explained?  Every problem at once, each with its remedy.

A parameter gradient of one example exists only if the examples of a batch do not depend on each
other and the same input gives the same output twice.
"""

from __future__ import annotations

from torch import Tensor, nn

from captum_tfa.gradients.losses import ExampleLosses, LossFn, OutputFn
from captum_tfa.gradients.problems import refuse_problems
from captum_tfa.gradients.selection import ParameterChoice
from captum_tfa.scores.self_check import compare_with_autograd


def validate(
    model: nn.Module,
    inputs: Tensor | tuple[Tensor, ...] | None = None,
    target: object = None,
    *,
    loss_fn: LossFn | None = None,
    output_fn: OutputFn | None = None,
    parameters: ParameterChoice = None,
    check: bool = False,
) -> None:
    """Raise one error that lists every problem of a model.

    Args:
        model: the model to be explained, in the state in which it will be used.
        inputs: with ``check``, an example ``[1, ...]`` (of more, the first is taken); a tuple for
            models with several inputs.
        target: with ``check``, its label, as for `Score.forward`.
        loss_fn: with ``check``, as for `Score`.
        output_fn: with ``check``, as for `Score`.
        parameters: with ``check``, as for `Score`.
        check: also compare the gradient of that example, and its derivative, with what plain
            autograd makes of them one example at a time. Costs about five times a map.

    Raises:
        TypeError: it is no module.
        ValueError: with every problem and its remedy; ``check`` without ``inputs``.
        RuntimeError: with ``check``, the two disagree. A model does so whose examples depend on
            each other, or whose outputs are random.
    """
    refuse_problems(model)
    if check:
        if inputs is None:
            raise ValueError("check=True needs an example: validate(model, inputs, check=True).")
        compare_with_autograd(model, inputs, target, ExampleLosses(loss_fn, output_fn), parameters)
