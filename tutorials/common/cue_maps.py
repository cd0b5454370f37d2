"""What is compared in the two-cue test: scores, and maps of them that are read as heat."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import torch
import torch.nn.functional as F
from captum.attr import IntegratedGradients
from torch import Tensor, nn

from captum_tfa import (
    GradCosScore,
    GradDotScore,
    InfluenceScore,
    SmoothGrad,
    TrainingGradient,
    TrainingGradientXInput,
    TrainingIntegratedGradients,
    TrainingOcclusion,
)
from captum_tfa.curvature import Curvature
from captum_tfa.gradients import Gradients, StoredGradients
from captum_tfa.metrics import saliency
from captum_tfa.scores import InnerProduct, Score
from captum_tfa.scores.grad_cos import cosine

TAUGHT = 0
"""The class that the cues teach."""

COSINE = "influence, cosine"
"""The cosine with curvature."""


def scores_of(model: nn.Module, curvature: Curvature) -> dict[str, Score]:
    """Every score and measure, by name."""

    def influence(normalise: str | None, **how: str) -> Score:
        return InfluenceScore(model, curvature, normalise, **how)  # type: ignore[arg-type]

    return {
        "grad-dot": GradDotScore(model),
        "grad-cos": GradCosScore(model),
        "grad-cos, logit of the test image": GradCosScore(model, measure_fn="logit"),
        "grad-cos, margin of the test image": GradCosScore(model, measure_fn="margin"),
        "grad-cos, logits of both": GradCosScore(model, "logit"),
        "influence": influence(None),
        "influence, logits of both": influence(None, loss_fn="logit"),
        "influence, theta": influence("theta"),
        "influence, ell": influence("ell"),
        COSINE: influence("cos"),
        f"{COSINE}, logit of the test image": influence("cos", measure_fn="logit"),
        f"{COSINE}, margin of the test image": influence("cos", measure_fn="margin"),
        f"{COSINE}, logits of both": influence("cos", loss_fn="logit"),
    }


class NormOfEachPoint(Score):
    """A cosine in which the training gradient's norm is not differentiated."""

    def __init__(self, score: Score) -> None:
        super().__init__(score.model, score.loss_fn, score.output_fn, score.choice)
        self._gradients, self._measured = score._gradients, score._measured
        self.score = score

    def prepared(self, tests: StoredGradients) -> StoredGradients:
        """As the score's own."""
        return self.score.prepared(tests)

    def of(self, train: Gradients, tests: StoredGradients, rows: Tensor | None) -> Tensor:
        """The cosine."""
        inner, squares, test_squares = self.compared(train, tests, rows)
        return cosine(inner, squares.detach(), test_squares)


class Drawing:
    """Draws maps of one training image for several test images, all of the taught class.

    Args:
        image: the training image, ``[1, C, H, W]``.
        start: an image of one colour, likewise.
        tests: the test images, ``[M, C, H, W]``.
        samples: noisy copies, or points on a path.
    """

    def __init__(self, image: Tensor, start: Tensor, tests: Tensor, samples: int) -> None:
        self.image, self.start, self.tests, self.samples = image, start, tests, samples
        labels = torch.full((len(tests),), TAUGHT)
        self.others = {
            "target": torch.tensor([TAUGHT]),
            "additional_forward_args": (tests, labels),
        }

    def scores(self, score: Callable[..., Tensor], images: Tensor) -> Tensor:
        """The scores of training images for the test images, ``[N, M]``."""
        labels = torch.full((len(self.tests),), TAUGHT)
        if isinstance(score, Score):
            tests = score.test_gradients(self.tests, labels)
            return score.against(images, torch.full((len(images),), TAUGHT), tests)
        return torch.stack([score(images, test[None]) for test in self.tests], 1)

    def smooth(self, score: Score) -> Tensor:
        """The paper's map with its sign, ``[M, C, H, W]``."""
        return self._noisy(TrainingGradient(score))

    def gradient_x_input(self, score: Score, samples: int | None = None) -> Tensor:
        """Contributions by the gradient at the image, or around it."""
        method = TrainingGradientXInput(score)
        if samples == 1:
            return method.attribute(self.image, self.start, **self.others)
        return self._noisy(method, baselines=self.start)

    def path(self, score: Score) -> Tensor:
        """Contributions on the path from the image without content."""
        return TrainingIntegratedGradients(score).attribute(
            self.image,
            self.start,
            n_steps=self.samples,
            internal_batch_size=self.samples,
            **self.others,
        )

    def covered(self, score: Score) -> Tensor:
        """Contributions of windows."""
        return TrainingOcclusion(score).attribute(
            self.image, self.start, internal_batch_size=25, **self.others
        )

    def _noisy(self, method: TrainingGradient | TrainingGradientXInput, **more: Tensor) -> Tensor:
        return SmoothGrad(method).attribute(
            self.image,
            nt_samples=self.samples,
            internal_batch_size=self.samples,
            **self.others,
            **more,
        )


PAPER = "gradient (paper)"
HELD = "integrated gradients, norm held"
Draw = Callable[[Drawing, Score], Tensor]
_OF_ALL: dict[str, Draw] = {
    PAPER: Drawing.smooth,
    "integrated gradients": Drawing.path,
}
_OF_COSINES: dict[str, Draw] = {
    HELD: lambda drawing, score: drawing.path(InnerProduct(score)),
    "integrated gradients, norm of each point": lambda drawing, score: drawing.path(
        NormOfEachPoint(score)
    ),
}
_OF_PLAIN: dict[str, Draw] = {
    "gradient x input": Drawing.gradient_x_input,
    "occlusion": Drawing.covered,
}
_OF_MAIN: dict[str, Draw] = {
    "occlusion, norm held": lambda drawing, score: drawing.covered(InnerProduct(score)),
    "gradient x input, no noise": lambda drawing, score: drawing.gradient_x_input(score, 1),
    "gradient x input, no noise, norm of each point": lambda drawing, score: (
        drawing.gradient_x_input(NormOfEachPoint(score), 1)
    ),
    "gradient x input, norm of each point": lambda drawing, score: drawing.gradient_x_input(
        NormOfEachPoint(score)
    ),
}
MAIN = ("grad-cos", COSINE)
"""The two scores of which all maps are drawn, also those that tell what goes wrong."""


ALIKE = tuple(
    f"{name}, {measure} of the test image"
    for name in ("grad-cos", COSINE)
    for measure in ("logit", "margin")
)
"""Scores that are not mapped: the test image's loss, logit and margin have gradients of nearly one
direction (loss and margin of exactly one), and a cosine sees nothing else of them."""


def maps_of(name: str, score: Score) -> dict[str, Callable[[Drawing], Tensor]]:
    """The maps of a score that differ, by name.

    They are drawn as ``[M, H, W]``: sizes for the paper's, signed contributions otherwise.
    """
    draws = dict(_OF_ALL)
    if "cos" in name:  # the norms of the others are none, or not the training gradient's own
        draws |= _OF_COSINES
    if name in ("grad-dot", "influence", *MAIN):
        draws |= _OF_PLAIN
    if name in MAIN:
        draws |= _OF_MAIN
    return {kind: partial(_flat, kind, score, draw) for kind, draw in draws.items()}


def _flat(kind: str, score: Score, draw: Draw, drawing: Drawing) -> Tensor:
    found = draw(drawing, score).detach()
    return saliency(found) if kind == PAPER else found.sum(1)


def of_own_label(model: nn.Module, drawing: Drawing) -> Tensor:
    """Contributions to the training image's own logit: they do not see the test image, ``[H, W]``.

    Integrated gradients.
    """
    path = IntegratedGradients(model).attribute(
        drawing.image, drawing.start, target=TAUGHT, n_steps=drawing.samples
    )
    return path.detach()[0].sum(0)


class FeatureSimilarity(nn.Module):
    """The cosine of what goes into the last linear layer, with the training set's mean taken away.

    Args:
        model: the network, in evaluation mode.
        known: training images that say what the mean is, ``[N, C, H, W]``.
    """

    def __init__(self, model: nn.Module, known: Tensor) -> None:
        super().__init__()
        self.model = model
        with torch.no_grad():
            self.centre = features(model, known).mean(0)

    def forward(self, images: Tensor, test: Tensor) -> Tensor:
        """Of training images ``[B, ...]`` with one test image or as many, ``[B]``."""
        with torch.no_grad():
            asked = features(self.model, test) - self.centre
        return F.cosine_similarity(features(self.model, images) - self.centre, asked)

    def path(self, drawing: Drawing) -> Tensor:
        """Its integrated gradients, ``[M, H, W]``."""
        paths = [
            IntegratedGradients(self).attribute(
                drawing.image,
                drawing.start,
                additional_forward_args=(test[None],),
                n_steps=drawing.samples,
            )
            for test in drawing.tests
        ]
        return torch.cat(paths).detach().sum(1)


def features(model: nn.Module, images: Tensor) -> Tensor:
    """What goes into the last linear layer, ``[N, F]``."""
    seen: list[Tensor] = []
    last = [module for module in model.modules() if isinstance(module, nn.Linear)][-1]
    hook = last.register_forward_pre_hook(lambda module, inputs: seen.append(inputs[0]))
    try:
        for part in images.split(100):
            model(part)
    finally:
        hook.remove()
    return torch.cat(seen)


def told_apart(model: nn.Module, twins: tuple[Tensor, Tensor]) -> float:
    """How often a linear probe of the features knows which twin it sees, on the other half."""
    both = torch.cat(twins)
    with torch.no_grad():
        seen = features(model, both).double()
    seen = (seen - seen.mean(0)) / seen.std(0).clamp_min(1e-9)
    sign = torch.cat([torch.ones(len(twins[0])), -torch.ones(len(twins[1]))]).double()
    half = torch.arange(len(both)) % 2 == 0
    gram = seen[half].T @ seen[half] + len(both) * 0.1 * torch.eye(seen.shape[1]).double()
    weights = torch.linalg.solve(gram, seen[half].T @ sign[half])
    return float(((seen[~half] @ weights).sign() == sign[~half]).double().mean())
