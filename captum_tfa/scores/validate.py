"""Can this model be explained, and what will be slow?  Every problem at once, with its remedy.

A parameter gradient of one example exists only if the examples of a batch do not depend on each
other and the same input gives the same output twice.
"""

from __future__ import annotations

from torch import Tensor, nn

from captum_tfa.gradients.losses import ExampleLosses, LossFn, OutputFn
from captum_tfa.gradients.problems import refuse_problems
from captum_tfa.gradients.selection import ParameterChoice
from captum_tfa.scores.self_check import compare_with_autograd, parameters_with_a_pass_each


def validate(
    model: nn.Module,
    inputs: Tensor | tuple[Tensor, ...] | None = None,
    target: object = None,
    *,
    loss_fn: LossFn | None = None,
    output_fn: OutputFn | None = None,
    parameters: ParameterChoice = None,
    check: bool = False,
) -> list[str]:
    """Raise one error that lists every problem of a model, and list what will be slow.

    Args:
        model: the model to be explained, in the state in which it will be used.
        inputs: an example ``[1, ...]`` (of more, the first is taken); a tuple for models with
            several inputs. Without it only the modules are looked at.
        target: its label, as for `Score.forward`.
        loss_fn: as for `Score`, where there are ``inputs``; likewise ``output_fn``.
        output_fn: likewise.
        parameters: likewise.
        check: also compare the gradient of that example, and its derivative, with what plain
            autograd makes of them one example at a time. Costs about five times a map.

    Returns:
        With ``inputs``, the names of parameters that cost a backward pass for each example of a
        batch: recurrent layers, tables of position biases. Results are exact, but slow; leave them
        out with ``parameters=``. Empty if there are none, and without ``inputs``.

    Raises:
        TypeError: it is no module.
        ValueError: with every problem and its remedy; ``check`` without ``inputs``.
        RuntimeError: with ``check``, the two disagree. A model does so whose examples depend on
            each other, or whose outputs are random.
    """
    refuse_problems(model)
    if inputs is None:
        if check:
            raise ValueError("check=True needs an example: validate(model, inputs, check=True).")
        return []
    losses = ExampleLosses(loss_fn, output_fn)
    if check:
        compare_with_autograd(model, inputs, target, losses, parameters)
    return parameters_with_a_pass_each(model, inputs, target, losses, parameters)
