"""Everything that could be called *the* map of a pair, and what it has to beat.

All are one number a pixel, high where a pixel makes the score what it is: contributions are
multiplied by the score's sign, so that the map of an opponent shows what makes it one.
"""

from __future__ import annotations

import torch
from captum.attr import LayerActivation, LayerAttribution
from torch import Tensor, nn
from tqdm.auto import tqdm

from captum_tfa import (
    LayerTrainingGradient,
    TrainingGradient,
    TrainingIntegratedGradients,
    TrainingOcclusion,
)
from captum_tfa.attr import noisy_copies
from captum_tfa.metrics.controls import (
    centre_weighted,
    contiguous_random,
    own_label_grad_cam,
    own_label_gradient,
    random_saliency,
)
from captum_tfa.metrics.localisation import saliency
from captum_tfa.scores import Score, norm_held
from common.pairs import Pairs

PAPER = "|SmoothGrad| (paper)"
CONTROLS = (
    "random",
    "centre",
    "contiguous random",
    "own label |SmoothGrad|",
    "own label Grad-CAM",
    "own label noisy IG",
)


class Candidates:
    """Draws the maps of pairs. ``S`` is the score, ``x`` the training image, ``b`` the baseline.

    With gradients taken at ``x`` ("gradient"), at noisy copies of ``x`` ("SmoothGrad"), on the
    path from ``b`` to ``x`` ("IG"), or at noisy copies of points on that path ("noisy IG"), and
    their mean ``G``:

    - "|gradient|", "|SmoothGrad|": ``sum_channels |G|``, which does not look at the sign;
    - "... × change, pixels" and "IG, pixels": ``sum_channels G (x − b)``;
    - "IG, norm held": the same of the score whose norms are those of the pair, see `norm_held`;
    - "... × change" at a layer: ``sum_channels G_A (A(x) − A(b))``, upsampled;
    - "|mean SmoothGrad|, layer": the paper's layer map, ``|mean_channels G_A|``, upsampled;
    - "3×3 mean": of a map of pixels, so that its top is less scattered;
    - "occlusion 4×4": what the score loses when a block of 4 x 4 pixels becomes ``b``;
    - "occlusion 8×8": the same for windows that begin every 4 pixels, so that four of them cover
      a pixel away from the border; the mean over these.

    Args:
        score: Any score of a trained classifier.
        layers: Modules of the classifier, by the names to call them.
        colour: ``b``, the data set's mean colour ``[C]``.
        samples: Points the mean is over; half as many on the path without noise.
        noise_level: Deviation of the noise as a part of the image's max − min.
        seed: Of the noise, which is the same for every pair.
    """

    def __init__(
        self,
        score: Score,
        layers: dict[str, nn.Module],
        colour: Tensor,
        samples: int,
        noise_level: float = 0.1,
        seed: int = 0,
    ) -> None:
        self.score, self.model, self.names = score, score.model, list(layers)
        self.of_pixels = TrainingGradient(score)
        self.of_layers = LayerTrainingGradient(score, [*layers.values()])
        self.activations = LayerActivation(score.model, [*layers.values()])
        self.colour, self.samples, self.noise_level, self.seed = colour, samples, noise_level, seed

    def of_pairs(self, pairs: Pairs) -> dict[str, Tensor]:
        """Every map by name, ``[P, H, W]``."""
        drawn = [self.of_pair(pairs, row) for row in tqdm(range(len(pairs.pool)), "maps")]
        return {name: torch.stack([one[name] for one in drawn]) for name in drawn[0]}

    def of_pair(self, pairs: Pairs, row: int) -> dict[str, Tensor]:
        """Every map of one pair by name, ``[H, W]``."""
        here = slice(row, row + 1)
        image, label = pairs.pool[here], pairs.pool_labels[here]
        side = (pairs.test[here], pairs.test_labels[here])
        sign = pairs.scores[row].sign()
        start = self.colour.view(1, -1, 1, 1).expand_as(image)
        ends = ([end, *self.activations.attribute(end)] for end in (image, start))
        changes = [there - origin for there, origin in zip(*ends, strict=True)]

        found = {}
        for kind, points in self._points(image, start).items():
            labels = label.expand(len(points))
            gradients = self.of_pixels.attribute(points, labels, side)
            deeper = self.of_layers.attribute(points, labels, side)
            means = [gradient.mean(0, keepdim=True) for gradient in (gradients, *deeper)]
            for name, mean, change in zip(["pixels", *self.names], means, changes, strict=True):
                part = sign * (mean * change).sum(1, keepdim=True)
                found[f"{kind}, {name}"] = _grown(part, image)
            if kind == "gradient × change":
                found["|gradient|"] = saliency(means[0])[0]
            if kind == "SmoothGrad × change":
                found[PAPER] = saliency(means[0])[0]
                for name, mean in zip(self.names, means[1:], strict=True):
                    part = mean.mean(1, keepdim=True).abs()
                    found[f"|mean SmoothGrad|, {name}"] = _grown(part, image)
                smooth = found["SmoothGrad × change, pixels"][None]
                found[f"{kind}, 3×3 mean"] = nn.functional.avg_pool2d(
                    smooth, 3, 1, 1, count_include_pad=False
                )[0]
        held = TrainingIntegratedGradients(norm_held(self.score, (image, label), side))
        path = held.attribute(image, start, label, side, n_steps=max(1, self.samples // 2))
        found["IG, norm held"] = sign * path[0].sum(0)
        for window in (4, 8):
            lost = TrainingOcclusion(self.score).attribute(
                image,
                start,
                label,
                side,
                sliding_window_shapes=(image.shape[1], window, window),
                strides=(image.shape[1], 4, 4),
            )
            found[f"occlusion {window}×{window}"] = sign * lost[0, 0]
        return {name: values.detach() for name, values in found.items()}

    def controls(self, pairs: Pairs, layer: nn.Module) -> dict[str, Tensor]:
        """What knows nothing of the score, ``[P, H, W]`` by name: `CONTROLS`."""
        images, labels = pairs.pool, pairs.pool_labels
        found = [
            random_saliency(images, self.seed),
            centre_weighted(images),
            contiguous_random(images, self.seed),
            own_label_gradient(
                self.model, images, labels, self.samples, self.noise_level, self.seed
            ),
            own_label_grad_cam(self.model, layer, images, labels),
            self._own_label_path(images, labels),
        ]
        return dict(zip(CONTROLS, found, strict=True))

    def _own_label_path(self, images: Tensor, labels: Tensor) -> Tensor:
        """Noisy IG of each image's own logit: the same care, but no test image."""
        found = []
        for image, label in zip(images, labels, strict=True):
            start = self.colour.view(-1, 1, 1).expand_as(image)
            points = self._points(image[None], start[None])["noisy IG"].requires_grad_()
            gradients = torch.autograd.grad(self.model(points)[:, label].sum(), points)[0]
            found.append((gradients.mean(0) * (image - start)).sum(0))
        return torch.stack(found)

    def _points(self, image: Tensor, start: Tensor) -> dict[str, Tensor]:
        """Where gradients are taken, by the kind of map, each ``[n, C, H, W]``."""
        copies = noisy_copies(image, self.samples, self.noise_level, self.seed)
        return {
            "gradient × change": image,
            "SmoothGrad × change": copies,
            "IG": _path(image, start, max(1, self.samples // 2)),
            "noisy IG": _path(image, start, self.samples) + copies - image,
        }


def _path(image: Tensor, start: Tensor, steps: int) -> Tensor:
    """The middles of ``steps`` equal parts of the way from ``start`` to ``image``."""
    middles = (torch.arange(steps) + 0.5) / steps
    return start + middles.view(-1, 1, 1, 1) * (image - start)


def _grown(part: Tensor, image: Tensor) -> Tensor:
    """``[1, 1, h, w]`` at the size of the image, ``[H, W]``."""
    size = (image.shape[2], image.shape[3])
    grown: Tensor = LayerAttribution.interpolate(part, size, "bilinear")
    return grown[0, 0]
