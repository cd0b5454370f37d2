"""The set-ups of the two-cue test: which cues, seen by which network, on which pictures."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from captum_tfa.demo import Pictures, SmallCNN, predict, train_classifier
from captum_tfa.metrics import plant_twins, plant_two_cues
from captum_tfa.metrics.two_cues import TwoCues

Cues = tuple[Tensor, Tensor]
_COLOURS = torch.tensor([[1.0, 0.1, 0.8], [0.1, 0.9, 0.1]])


def squares(side: int) -> Cues:
    """A pink and a green square, ``[3, side, side]`` each."""
    pink, green = _COLOURS[:, :, None, None].expand(2, 3, side, side)
    return pink, green


def textures(side: int) -> Cues:
    """Black and white stripes, upright and lying."""
    stripes = (torch.arange(side) % 2).float().expand(3, side, side)
    return stripes, stripes.mT


def smooth_net(classes: int) -> nn.Module:
    """The small CNN with GroupNorm and SiLU in the place of BatchNorm and ReLU."""
    layers: list[nn.Module] = []
    for layer in SmallCNN(classes).modules():
        if isinstance(layer, nn.BatchNorm2d):
            layers.append(nn.GroupNorm(4, layer.num_features))
        elif isinstance(layer, nn.ReLU):
            layers.append(nn.SiLU())
        elif not isinstance(layer, nn.Sequential):
            layers.append(layer)
    return nn.Sequential(*layers)


@dataclass(frozen=True, eq=False)
class Setup:
    """One set-up.

    Attributes:
        cues: pictures of A and of B in [0, 1].
        opacity: how much a cue covers.
        net: makes the network from the number of classes.
        train: plain training pictures, the taught class first.
        test: plain test pictures.
        epochs: of training.
        learning_rate: the highest of its cycle.
        batch_size: examples a step.
        ranked: training images of the taught class that are ranked, at most.
        mapped: training images with both cues of which maps are drawn, at most.
        fitted: training images to which curvature is fitted, at most.
        kinds: whether the kinds of curvature are compared.
    """

    cues: Cues
    opacity: float
    net: Callable[[int], nn.Module]
    train: Pictures
    test: Pictures
    epochs: int
    learning_rate: float
    batch_size: int
    ranked: int
    mapped: int
    fitted: int
    kinds: bool

    def trained(self, pictures: Pictures, seed: int) -> nn.Module:
        """The network, trained; the same seed starts at the same weights."""
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            model = self.net(len(pictures.classes))
            return train_classifier(
                model, pictures, self.epochs, self.batch_size, self.learning_rate, seed
            )


@dataclass(frozen=True, eq=False)
class Planted:
    """The pictures of one run.

    Attributes:
        train: with the cues.
        plain: the same without.
        cued: where the cues lie.
        twins: test pictures of the other classes with A, and the same with B.
    """

    train: Pictures
    plain: Pictures
    cued: TwoCues
    twins: tuple[Pictures, Pictures]

    def without(self, index: int, cue: int) -> Tensor:
        """A training picture ``[1, 3, H, W]`` in which what a cue hid has come back."""
        inside = self.cued.inside[index, cue]
        return torch.where(inside, self.plain[index][0], self.train[index][0])[None]

    def asked(self, model: nn.Module, count: int) -> tuple[list[int], float]:
        """Which test pictures the network calls the taught class with either cue, and the share."""
        said = torch.stack([predict(model, twin)[0].argmax(1) for twin in self.twins])
        fooled = (said == 0).all(0)
        return fooled.nonzero().flatten()[:count].tolist(), float(fooled.float().mean())


def plant(setup: Setup, per_class: int, seed: int) -> Planted:
    """A set-up's pictures with the cues planted, so many a class."""
    source = setup.train
    order = torch.randperm(len(source), generator=torch.Generator().manual_seed(seed))
    chosen = [
        order[source.labels[order] == label][:per_class] for label in range(len(source.classes))
    ]
    plain = source.part(torch.cat(chosen).tolist())
    plain = _float(plain, _unit(plain), plain.labels)
    cued = plant_two_cues(plain.images, plain.labels, 0, setup.cues, seed, setup.opacity)
    others = setup.test.part((setup.test.labels != 0).nonzero().flatten().tolist())
    first, second = (
        _float(plain, twin.images, twin.labels)
        for twin in plant_twins(_unit(others), others.labels, setup.cues, seed, setup.opacity)
    )
    return Planted(_float(plain, cued.images, cued.labels), plain, cued, (first, second))


def _unit(pictures: Pictures) -> Tensor:
    """The pictures in [0, 1]."""
    return pictures.images.float() / 255


def _float(like: Pictures, images: Tensor, labels: Tensor) -> Pictures:
    return Pictures(images, labels, like.classes, None, like.transform)
