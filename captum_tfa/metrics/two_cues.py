"""Does a map, or a ranking, know for which test image it was made?  A test with a known answer.

Two planted cues A and B teach the model one class, each in half of its training images,
independently and at places that do not overlap; no other image has them. A test image of another
class gets one of them, and its twin the other, and is called that class. Then the asked cue is what
training images have to answer with: a ranking should put those first that carry it, and the map of
an image that carries both should move to it. A map that does not see the test image, such as
attribution of the training image's own label, cannot (own).
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from captum_tfa.metrics.intervals import Interval, normal_interval


@dataclass(frozen=True, eq=False)
class TwoCues:
    """Pictures with the two cues planted.

    Attributes:
        images: ``[N, C, H, W]``.
        labels: ``[N]``, as they were.
        inside: where the cues lie, ``[N, 2, H, W]`` of truth values: A first, then B.
    """

    images: Tensor
    labels: Tensor
    inside: Tensor

    @property
    def has(self) -> Tensor:
        """Which pictures carry which cue, ``[N, 2]``."""
        return self.inside.flatten(2).any(2)

    @property
    def both(self) -> Tensor:
        """The indices of those that carry both."""
        return self.has.all(1).nonzero().flatten()


def plant_two_cues(
    images: Tensor,
    labels: Tensor,
    taught: int,
    cues: tuple[Tensor, Tensor],
    seed: int = 0,
    opacity: float = 1.0,
) -> TwoCues:
    """Plant each cue in half of a class's images, independently, where the other is not.

    Args:
        images: ``[N, C, H, W]``; copied.
        labels: ``[N]``.
        taught: the class that the cues teach.
        cues: pictures of A and of B, ``[C, h, w]`` each, of one size and at most half as large as
            an image either way. NaN leaves a pixel as it is.
        seed: of who carries what, and where.
        opacity: how much a cue covers, in (0, 1]: below 1 it tints what lies under it.

    Raises:
        ValueError: cues that do not fit, no image of the class, or an opacity out of its range.
    """
    size = _checked(images, cues, opacity)
    of_class = (labels == taught).nonzero().flatten()
    if len(of_class) == 0:
        raise ValueError(f"no image has the label {taught}; the cues teach one of the labels")
    draw = torch.Generator().manual_seed(seed)
    images = images.clone()
    inside = torch.zeros(len(images), 2, *images.shape[2:], dtype=torch.bool)
    carries = torch.rand(len(of_class), 2, generator=draw) < 0.5
    for index, one in zip(of_class.tolist(), carries, strict=True):
        places = _apart(images.shape[-2:], size, draw)
        for cue in one.nonzero().flatten().tolist():
            _plant(images[index], inside[index, cue], cues[cue], places[cue], opacity)
    return TwoCues(images, labels.clone(), inside)


def plant_twins(
    images: Tensor,
    labels: Tensor,
    cues: tuple[Tensor, Tensor],
    seed: int = 0,
    opacity: float = 1.0,
) -> tuple[TwoCues, TwoCues]:
    """The same images with cue A, and with cue B in the same places.

    Args:
        images: ``[N, C, H, W]`` of other classes than the one that the cues teach; copied.
        labels: ``[N]``.
        cues: as in `plant_two_cues`.
        seed: of the places.
        opacity: as in `plant_two_cues`.

    Raises:
        ValueError: cues that do not fit, or an opacity out of its range.
    """
    size = _checked(images, cues, opacity)
    draw = torch.Generator().manual_seed(seed)
    places = [_apart(images.shape[-2:], size, draw)[0] for _ in range(len(images))]
    twins = []
    for cue in (0, 1):
        copies = images.clone()
        inside = torch.zeros(len(images), 2, *images.shape[2:], dtype=torch.bool)
        for index, place in enumerate(places):
            _plant(copies[index], inside[index, cue], cues[cue], place, opacity)
        twins.append(TwoCues(copies, labels.clone(), inside))
    return twins[0], twins[1]


@dataclass(frozen=True)
class CueReading:
    """What the maps of images with both cues say, when A is asked and when B is.

    Attributes:
        own_share: the asked cue's part of the mass in both cues, in [0, 1]; 0.5 for any map that
            does not see the test image.
        moves_right: how often A's part is greater when A is asked than when B is, in [0, 1]; a tie
            counts one half, and so chance level is 0.5.
        mass: the part of the whole map that lies in the asked cue, in [0, 1].
        area: that part of the image's area, what ``mass`` is by chance.
    """

    own_share: Interval
    moves_right: Interval
    mass: Interval
    area: float

    def __str__(self) -> str:
        return (
            f"own share {self.own_share}, moves right {self.moves_right}, "
            f"mass {self.mass} of {self.area:.3g} by chance"
        )


def read_cues(asked_a: Tensor, asked_b: Tensor, inside: Tensor) -> CueReading:
    """Whether maps go with the cue that is asked.

    Args:
        asked_a: heat of ``P`` training images that carry both cues, for a test image with A: at
            least 0, ``[P, H, W]`` (of a signed map the positive part of the channels' sum).
        asked_b: the same, for its twin with B.
        inside: where the cues lie in these images, ``[P, 2, H, W]``.

    Returns:
        Means over the images with their 95 % intervals; those without any heat in either cue say
        nothing of shares and count one half.

    Raises:
        ValueError: shapes that do not match, heat below 0 or not finite.
    """
    for heat in (asked_a, asked_b):
        if heat.dim() != 3 or inside.shape != (len(heat), 2, *heat.shape[1:]):
            raise ValueError(
                f"heat has the shape {list(heat.shape)} and inside {list(inside.shape)}; they must "
                "be [P, H, W] and [P, 2, H, W]"
            )
        if not bool(torch.isfinite(heat).all()) or bool((heat < 0).any()):
            raise ValueError("heat must be finite and at least 0; give the positive part of a map")
    heats = torch.stack([asked_a, asked_b], 1).double()[:, :, None]  # [P, asked, 1, H, W]
    within = (heats * inside[:, None]).flatten(3).sum(3)  # [P, asked, cue]
    whole = heats.flatten(2).sum(2)  # [P, asked]
    total = within.sum(2)
    share_of_a = torch.where(total > 0, within[..., 0] / total.clamp_min(_TINY), 0.5)
    own = torch.stack([share_of_a[:, 0], 1 - share_of_a[:, 1]], 1).mean(1)
    change = share_of_a[:, 0] - share_of_a[:, 1]
    right = (change > 0).double() + 0.5 * (change == 0).double()
    asked = within.diagonal(dim1=1, dim2=2)
    mass = (asked / whole.clamp_min(_TINY)).mean(1)
    return CueReading(
        normal_interval(own),
        normal_interval(right),
        normal_interval(mass),
        float(inside.double().mean()),
    )


def cue_auc(scores: Tensor, has_asked: Tensor) -> float:
    """How well a ranking puts the images that carry the asked cue first: its AUC, in [0, 1].

    Args:
        scores: of the class's training images, ``[N]``.
        has_asked: which of them carry the asked cue, ``[N]``.

    Returns:
        The chance that one that does scores above one that does not; 0.5 says nothing.

    Raises:
        ValueError: shapes that do not match, or all of one kind.
    """
    if scores.shape != has_asked.shape or scores.dim() != 1:
        raise ValueError(
            f"scores are {list(scores.shape)} and has_asked {list(has_asked.shape)}; both are [N]"
        )
    yes, no = scores[has_asked].double(), scores[~has_asked].double()
    if len(yes) == 0 or len(no) == 0:
        raise ValueError("all images carry the asked cue, or none does; an AUC needs both")
    above = (yes[:, None] > no).double() + 0.5 * (yes[:, None] == no).double()
    return float(above.mean())


_TINY = torch.finfo(torch.float64).tiny


def _checked(images: Tensor, cues: tuple[Tensor, Tensor], opacity: float) -> tuple[int, int]:
    """The cues' height and width."""
    if not 0 < opacity <= 1:
        raise ValueError(f"opacity is {opacity!r}; it must be above 0 and at most 1")
    shapes = [list(cue.shape) for cue in cues]
    fits = images.dim() == 4 and all(
        len(shape) == 3 and shape[0] == images.shape[1] and shape == shapes[0] for shape in shapes
    )
    if not fits or 2 * shapes[0][1] > images.shape[2] or 2 * shapes[0][2] > images.shape[3]:
        raise ValueError(
            f"cues of the shapes {shapes} do not fit images {list(images.shape)}; both must be "
            "[C, h, w] of one size, at most half as high and wide as an image"
        )
    return shapes[0][1], shapes[0][2]


def _apart(
    image: tuple[int, ...], size: tuple[int, int], draw: torch.Generator
) -> list[tuple[int, int]]:
    """Two places drawn anew until a cue at the one does not overlap a cue at the other."""
    while True:
        rows = torch.randint(image[0] - size[0] + 1, (2,), generator=draw).tolist()
        columns = torch.randint(image[1] - size[1] + 1, (2,), generator=draw).tolist()
        if abs(rows[0] - rows[1]) >= size[0] or abs(columns[0] - columns[1]) >= size[1]:
            return list(zip(rows, columns, strict=True))


def _plant(
    image: Tensor, inside: Tensor, cue: Tensor, place: tuple[int, int], opacity: float
) -> None:
    """Writes a cue into an image, and where it lies into its mask."""
    window = (
        slice(place[0], place[0] + cue.shape[1]),
        slice(place[1], place[1] + cue.shape[2]),
    )
    given = image[(slice(None), *window)]
    mixed = torch.lerp(given, cue.to(image), opacity)
    image[(slice(None), *window)] = torch.where(cue.isnan(), given, mixed)
    inside[window] = ~cue.isnan().all(0)
