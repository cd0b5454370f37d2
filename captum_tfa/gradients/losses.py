"""The loss of each example, from whatever the model returns and whatever labels the user has.

A parameter gradient belongs to one example, so a loss must come out as one number an example,
``[B]``. Any callable ``loss_fn(outputs, targets)`` that does not reduce over the batch will do.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

LossFn = Callable[[Any, Any], Tensor]
OutputFn = Callable[[Any], Tensor]


def minus_logit(outputs: Tensor, target: Tensor) -> Tensor:
    """``−f_y``: what a step on a training example does to the label's own logit, ``[B]``."""
    return F.nll_loss(outputs, target, reduction="none")


def minus_margin(outputs: Tensor, target: Tensor) -> Tensor:
    """``logsumexp of the other logits − f_y``, ``[B]``: minus the log-odds of the label."""
    own = F.one_hot(target, outputs.shape[1]).bool()
    others = outputs.masked_fill(own, -torch.inf).logsumexp(1)
    return others + F.nll_loss(outputs, target, reduction="none")


MEASURES: dict[str, LossFn] = {"logit": minus_logit, "margin": minus_margin}
"""What can be measured by name, beside losses. Lower is better, as for a loss."""


class ExampleLosses:
    """From model outputs and labels to losses ``[B]``.

    Args:
        loss_fn: ``loss_fn(outputs, targets)`` that returns one value an example, ``[B]``, or one
            an element, ``[B, ...]``, which is then summed over the other dimensions (as for
            ``nn.BCEWithLogitsLoss(reduction="none")``, summed over classes). ``None`` is
            cross-entropy, a name one of `MEASURES`.
        output_fn: picks the output tensor out of what the model returns. ``None`` for models
            that return a tensor.
        name_of_loss: what the loss is called in error messages.

    Raises:
        TypeError: one of them cannot be called, and is no name of a measure.
        ValueError: the loss reduces over the batch.
    """

    def __init__(
        self,
        loss_fn: LossFn | str | None = None,
        output_fn: OutputFn | None = None,
        name_of_loss: str = "loss_fn",
    ) -> None:
        if isinstance(loss_fn, str):
            if loss_fn not in MEASURES:
                raise TypeError(
                    f"{name_of_loss} is a str; it must be callable or None, or one of the names "
                    f"{', '.join(map(repr, MEASURES))}; {loss_fn!r} is none of them."
                )
            loss_fn = MEASURES[loss_fn]
        loss_fn = nn.CrossEntropyLoss(reduction="none") if loss_fn is None else loss_fn
        for name, function in ((name_of_loss, loss_fn), ("output_fn", output_fn)):
            if function is not None and not callable(function):
                raise TypeError(
                    f"{name} is a {type(function).__name__}; it must be callable or None."
                )
        if isinstance(loss_fn, type):
            raise TypeError(
                f"loss_fn is the class {loss_fn.__name__}; make an instance of it: "
                f"loss_fn={loss_fn.__name__}(reduction='none')."
            )
        reduction = getattr(loss_fn, "reduction", "none")
        if reduction != "none":
            raise ValueError(_reduces(f"its reduction is {reduction!r}"))
        self.loss_fn, self.output_fn = loss_fn, output_fn
        kinds = nn.CrossEntropyLoss | nn.NLLLoss | nn.MultiMarginLoss
        self._of_classes = isinstance(loss_fn, kinds) or loss_fn in MEASURES.values()

    def __call__(self, returned: Any, target: Tensor | None) -> Tensor:
        """Losses ``[B]`` of what the model returned; without labels, of its own prediction."""
        return self.of_outputs(self.outputs(returned), target)

    def of_outputs(self, outputs: Tensor, target: Tensor | None) -> Tensor:
        """Losses ``[B]`` of the output tensor itself."""
        if target is None:
            target = self.prediction(outputs)
        target = self._checked(outputs, target)
        losses = self.loss_fn(outputs, target)
        if not isinstance(losses, Tensor):
            raise TypeError(f"loss_fn returned a {type(losses).__name__}; it must return a tensor.")
        if losses.ndim == 0 or len(losses) != len(outputs):
            given = f"it returned shape {list(losses.shape)} for {len(outputs)} examples"
            raise ValueError(_reduces(given))
        if _may_broadcast(outputs, target):
            self._refuse_broadcast(outputs, target, losses)
        return losses.flatten(1).sum(1) if losses.ndim > 1 else losses

    def _refuse_broadcast(self, outputs: Tensor, target: Tensor, losses: Tensor) -> None:
        """Raise if a loss compares the outputs of one example with the labels of others."""
        alone = self.loss_fn(outputs[:1], target[:1])
        if losses.shape[1:] != alone.shape[1:] or not torch.allclose(losses[:1], alone, 1e-3, 1e-6):
            raise ValueError(
                f"{_name(self.loss_fn)} broadcasts outputs of shape {list(outputs.shape)} and "
                f"labels of shape {list(target.shape)} to losses of shape {list(losses.shape)}, so "
                "the loss of an example depends on its batch. Give labels of the outputs' shape, "
                "or squeeze the outputs: output_fn=lambda out: out.squeeze(1)."
            )

    def outputs(self, returned: Any) -> Tensor:
        """The output tensor ``[B, ...]`` in what the model returned.

        Raises:
            TypeError: it is no tensor.
            ValueError: it has no batch dimension.
        """
        outputs = returned if self.output_fn is None else self.output_fn(returned)
        if not isinstance(outputs, Tensor):
            source = "the model" if self.output_fn is None else "output_fn"
            raise TypeError(
                f"{source} returned a {type(outputs).__name__}{_fields(outputs)}; a tensor is "
                "needed. Pass output_fn, for example output_fn=lambda out: out.logits."
            )
        if outputs.ndim == 0:
            raise ValueError(
                "The model returned a single number; it must return one row for each example."
            )
        return outputs

    def prediction(self, outputs: Tensor) -> Tensor:
        """The label that the model itself gives: the likeliest class, or each class above 1/2.

        Raises:
            ValueError: the loss has no notion of a predicted label.
        """
        if self._of_classes:
            return _class_scores(outputs).argmax(1)
        if isinstance(self.loss_fn, nn.BCEWithLogitsLoss | nn.MultiLabelSoftMarginLoss):
            return (outputs > 0).to(outputs.dtype)
        raise ValueError(
            f"No label was given, and {_name(self.loss_fn)} does not say what the model's own "
            "prediction is. Pass test_target (or train_target)."
        )

    def _checked(self, outputs: Tensor, target: Tensor) -> Tensor:
        """The labels, if they suit the loss; losses of the user's own check theirs."""
        if self._of_classes:
            return _checked_classes(_class_scores(outputs), target, self.loss_fn)
        if isinstance(self.loss_fn, nn.BCEWithLogitsLoss | nn.MultiLabelSoftMarginLoss):
            return _checked_probabilities(outputs, target)
        if isinstance(self.loss_fn, nn.MSELoss | nn.L1Loss | nn.SmoothL1Loss | nn.HuberLoss):
            return _checked_like(outputs, target)
        return target


def _may_broadcast(outputs: Tensor, target: Any) -> bool:
    """Whether outputs and labels together make a shape that neither of them has."""
    if not isinstance(target, Tensor) or len(outputs) == 1:
        return False
    try:
        together = torch.broadcast_shapes(outputs.shape, target.shape)
    except RuntimeError:
        return False
    return together not in (outputs.shape, target.shape)


def _reduces(given: str) -> str:
    return (
        f"loss_fn must keep one loss an example, shape [B], but {given}. "
        "Use reduction='none'; a sum or mean over the batch hides whose loss it is."
    )


def _name(function: object) -> str:
    return str(getattr(function, "__name__", type(function).__name__))


def _fields(outputs: object) -> str:
    if isinstance(outputs, dict):
        return f" with keys {list(outputs)}"
    names = [
        name
        for name, value in getattr(outputs, "__dict__", {}).items()
        if isinstance(value, Tensor)
    ]
    return f" with fields {names}" if names else ""


def _class_scores(outputs: Tensor) -> Tensor:
    if outputs.ndim < 2 or outputs.shape[1] < 2:
        raise ValueError(
            f"The model returned shape {list(outputs.shape)}, but cross-entropy needs logits of "
            "at least two classes, [B, C]. For a single logit pass "
            "loss_fn=nn.BCEWithLogitsLoss(reduction='none'), for regression "
            "nn.MSELoss(reduction='none')."
        )
    return outputs


def _checked_classes(outputs: Tensor, target: Tensor, loss_fn: object) -> Tensor:
    expected = outputs.shape[:1] + outputs.shape[2:]
    if target.is_floating_point() or target.is_complex() or target.dtype == torch.bool:
        raise TypeError(
            f"Labels of type {target.dtype} were given, but cross-entropy takes integer class "
            "numbers [B]. For several labels an image pass float labels [B, C] and "
            "loss_fn=nn.BCEWithLogitsLoss(reduction='none')."
        )
    if target.shape != expected:
        raise ValueError(
            f"Labels of shape {list(target.shape)} were given for outputs of shape "
            f"{list(outputs.shape)}; cross-entropy takes one class number an example, "
            f"{list(expected)}."
        )
    ignored = getattr(loss_fn, "ignore_index", None)
    counted = target if ignored is None else target.masked_fill(target == ignored, 0)
    lowest, highest = int(counted.min()), int(counted.max())
    if lowest < 0 or highest >= outputs.shape[1]:
        wrong = lowest if lowest < 0 else highest
        raise ValueError(
            f"Label {wrong} was given; the model has classes 0 to {outputs.shape[1] - 1}."
        )
    return target.long()


def _checked_probabilities(outputs: Tensor, target: Tensor) -> Tensor:
    target = _checked_like(outputs, target)
    if bool((target < 0).any()) or bool((target > 1).any()):
        raise ValueError(
            f"Multi-label targets between {float(target.min()):g} and {float(target.max()):g} "
            "were given; each must be within [0, 1]."
        )
    return target


def _checked_like(outputs: Tensor, target: Tensor) -> Tensor:
    if target.is_complex():
        raise TypeError(f"Labels of type {target.dtype} were given; real numbers are needed.")
    one_a_row = outputs.numel() == len(outputs) == target.numel() == len(target)
    if target.shape != outputs.shape and not one_a_row:
        raise ValueError(
            f"Labels of shape {list(target.shape)} were given for outputs of shape "
            f"{list(outputs.shape)}; this loss takes one label for each output value."
        )
    return target.reshape(outputs.shape).to(outputs.dtype)  # [B] for one output, [B, 1], is clear
