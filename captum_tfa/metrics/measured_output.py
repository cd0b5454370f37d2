"""What a model says about test images, as one number each, to be compared between models.

With logits ``f``, the right (or asked) class ``y`` and ``p = softmax f``:

- "margin": ``f_y − log Σ_{c ≠ y} exp f_c = log p_y / (1 − p_y)``, as datamodels and TRAK take it
  [ilyas2022datamodels, park2023trak]; it does not saturate, so it is closest to additive;
- "log-softmax": ``log p_y``, which is minus the cross-entropy loss;
- "logit": ``f_y`` itself;
- "-loss": minus any loss of one example.
"""

from __future__ import annotations

import hashlib
from typing import Any, Literal

import torch
from torch import Tensor, nn

from captum_tfa.gradients.losses import ExampleLosses, LossFn, OutputFn

_AT_ONCE = 256  # test images in a pass
_KINDS = ("margin", "log-softmax", "logit", "-loss")


class MeasuredOutput:
    """From a model to one number for each test image, ``[Q]``, float64, on the CPU.

    Higher means: says more of the label. So a training image that helps raises it.

    Args:
        images: Test images, ``[Q, ...]``.
        labels: Their classes, ``[Q]``; for "-loss" as the loss takes them, ``[Q, ...]``.
        kind: "margin" (default), "log-softmax", "logit" or "-loss".
        loss_fn: For "-loss": of one example, ``[B]``; None is cross-entropy. See `Score`.
        output_fn: Picks the logits ``[B, C]`` out of what the model returns. See `Score`.

    Raises:
        ValueError: Another kind, a loss without "-loss", no image, or not one label an image.
    """

    def __init__(
        self,
        images: Tensor,
        labels: Tensor,
        kind: Literal["margin", "log-softmax", "logit", "-loss"] = "margin",
        loss_fn: LossFn | None = None,
        output_fn: OutputFn | None = None,
    ) -> None:
        if kind not in _KINDS:
            raise ValueError(f"kind is {kind!r}; it must be one of {', '.join(map(repr, _KINDS))}")
        if loss_fn is not None and kind != "-loss":
            raise ValueError(f'a loss_fn is given for the kind {kind!r}; it belongs to "-loss"')
        if len(images) != len(labels) or len(images) == 0:
            raise ValueError(
                f"there are {len(images)} test images and {len(labels)} labels; give as many of "
                "each, at least 1"
            )
        self.images, self.labels, self.kind = images, labels, kind
        self._losses = ExampleLosses(loss_fn, output_fn)

    @property
    def settings(self) -> dict[str, Any]:
        """What an experiment notes about it: the kind, the number and a hash of the test images."""
        told = hashlib.sha256()
        for tensor in (self.images, self.labels):
            plain = tensor.detach().cpu().contiguous()
            told.update(plain.view(-1).view(torch.uint8).numpy().tobytes())
        count = len(self.images)
        return {"output": self.kind, "queries": count, "queries_hash": told.hexdigest()[:16]}

    @torch.no_grad()
    def __call__(self, model: nn.Module) -> Tensor:
        """The numbers of one model, in evaluation mode.

        Raises:
            ValueError: Logits that are not ``[B, C]`` with at least two classes, or a label that
                is none of them.
        """
        device = next((p.device for p in model.parameters()), self.images.device)
        sides = zip(self.images.split(_AT_ONCE), self.labels.split(_AT_ONCE), strict=True)
        parts = [self._of(model(x.to(device)), y.to(device)) for x, y in sides]
        return torch.cat(parts).double().cpu()

    def _of(self, outputs: Any, labels: Tensor) -> Tensor:
        if self.kind == "-loss":
            return -self._losses(outputs, labels)
        logits = self._losses.outputs(outputs)
        if logits.dim() != 2 or logits.shape[1] < 2:
            raise ValueError(
                f"the model's output has the shape {list(logits.shape)}; the kind {self.kind!r} "
                'needs logits [B, C] of at least 2 classes: give an output_fn, or take "-loss"'
            )
        if labels.dim() != 1 or labels.is_floating_point():
            raise ValueError(
                f"labels are {labels.dtype} of the shape {list(labels.shape)}; the kind "
                f"{self.kind!r} takes class numbers [Q]"
            )
        if int(labels.min()) < 0 or int(labels.max()) >= logits.shape[1]:
            raise ValueError(
                f"labels lie in [{int(labels.min())}, {int(labels.max())}]; the model has the "
                f"classes 0 to {logits.shape[1] - 1}"
            )
        logits = logits.double()
        own = labels.unsqueeze(1)
        chosen = logits.gather(1, own)[:, 0]
        if self.kind == "logit":
            return chosen
        if self.kind == "log-softmax":
            return chosen - logits.logsumexp(1)
        return chosen - logits.scatter(1, own, -torch.inf).logsumexp(1)
