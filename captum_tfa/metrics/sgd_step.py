"""What would one step of training on an image do to the loss of another?

The step is the plainest there is, ``θ' = θ − η ∇L(z_train; θ)``: no momentum, no weight decay.
It is taken on a copy of the parameters; the user's model keeps its own.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.func import functional_call

from captum_tfa.gradients import outside_inference_mode
from captum_tfa.gradients.losses import ExampleLosses, LossFn, OutputFn
from captum_tfa.scores.validate import validate


@outside_inference_mode
def loss_changes(
    model: nn.Module,
    train_images: Tensor,
    train_labels: Tensor,
    test_images: Tensor,
    test_labels: Tensor,
    step_size: float = 1e-3,
    loss_fn: LossFn | str | None = None,
    output_fn: OutputFn | None = None,
    measure_fn: LossFn | str | None = None,
) -> Tensor:
    """The change of each test loss by one step on its training image.

    ``L(z_test; θ − η ∇L(z_train; θ)) − L(z_test; θ)`` for each pair on its own; below 0 the step
    helps. To first order it is ``−η ⟨g_train, g_test⟩``, which is minus grad-dot.

    Pairs are worked on one after the other, since each has a model of its own after the step;
    memory does not grow with their number.

    Args:
        model: The trained model, in evaluation mode. It is not changed.
        train_images: ``[P, ...]``.
        train_labels: Their labels as the loss takes them, ``[P, ...]``.
        test_images: ``[P, ...]``.
        test_labels: Theirs, ``[P, ...]``.
        step_size: ``η``, above 0. Default 1e-3.
        loss_fn: The loss of one example; None is cross-entropy. See `Score`.
        output_fn: Picks the output tensor out of what the model returns. See `Score`.
        measure_fn: What is measured of the test image in the place of its loss. See `Score`.

    Returns:
        ``[P]``, in the model's precision.

    Raises:
        ValueError: Numbers of rows that differ, a step size that is not above 0, a loss that
            reduces over the batch, or a model not in evaluation mode (see `validate`).
        TypeError: As `Score`.
    """
    validate(model)
    losses = ExampleLosses(loss_fn, output_fn)
    measures = losses if measure_fn is None else ExampleLosses(measure_fn, output_fn, "measure_fn")
    sides = (train_images, train_labels, test_images, test_labels)
    counts = [len(side) for side in sides]
    if len(set(counts)) > 1 or not counts[0]:
        raise ValueError(
            f"there are {counts[0]} training images with {counts[1]} labels and {counts[2]} test "
            f"images with {counts[3]} labels; give as many of each, at least 1"
        )
    if not step_size > 0:
        raise ValueError(f"step_size is {step_size}; it must be above 0, e.g. 1e-3")
    return torch.stack(
        [
            _change(model, losses, measures, step_size, *(side[row : row + 1] for side in sides))
            for row in range(counts[0])
        ]
    )


def _change(
    model: nn.Module,
    losses: ExampleLosses,
    measures: ExampleLosses,
    step_size: float,
    train_image: Tensor,
    train_label: Tensor,
    test_image: Tensor,
    test_label: Tensor,
) -> Tensor:
    learned = {name: value for name, value in model.named_parameters() if value.requires_grad}
    with torch.enable_grad():
        loss = losses(model(train_image), train_label).sum()
        gradients = torch.autograd.grad(loss, list(learned.values()), allow_unused=True)
    with torch.no_grad():
        stepped = {
            name: value if gradient is None else value - step_size * gradient
            for (name, value), gradient in zip(learned.items(), gradients, strict=True)
        }
        before = measures(model(test_image), test_label)
        after = measures(functional_call(model, stepped, (test_image,)), test_label)
    return (after - before)[0]
