"""Maps of the opponents of each mistake: what the search for regions works on."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import interpolate
from torch.utils.data import Dataset
from tqdm.auto import tqdm

from captum_tfa.auditing.evidence import Evidence
from captum_tfa.auditing.opponents import Ranked
from captum_tfa.auditing.progress import Progress
from captum_tfa.report import arguments, dataset_facts, shared
from captum_tfa.report.mapping import Mapper
from captum_tfa.scores import Score

_EVIDENCE_BYTES = 2**29
"""All maps and pictures of an audit take at most about so much memory."""

_LARGEST, _SMALLEST = 112, 16
"""Longest side of a kept map: no region that comes up again and again needs more."""

_Statistics = tuple[Sequence[float], Sequence[float]] | None


def size_of_maps(image: Tensor, pairs: int) -> tuple[int, int]:
    """The size ``(H, W)`` at which maps of images like this one, ``[C, H, W]``, are kept.

    It is the image's own, unless that is needlessly large, or too large for so many pairs.
    """
    channels, height, width = image.shape
    each = _EVIDENCE_BYTES / max(1, pairs) / (4 + channels)  # pixels of a float map and its picture
    longest = min(max(height, width), _LARGEST)
    scale = longest / max(height, width)
    scale = min(scale, (each / (height * width)) ** 0.5)
    scale = max(scale, min(_SMALLEST, max(height, width)) / max(height, width))
    return max(1, round(height * scale)), max(1, round(width * scale))


def shrunk(image: Tensor, size: tuple[int, int]) -> Tensor:
    """``[..., H, W]`` at another size, each place the mean of what it stands for."""
    if image.shape[-2:] == size:
        return image
    flat = image.reshape(1, -1, *image.shape[-2:])
    return interpolate(flat, size, mode="area").reshape(*image.shape[:-2], *size)


class ShownPictures(Dataset[Tensor]):
    """The training images as a person knows them, ``uint8 [C, H, W]``, at the size of the maps.

    Args:
        dataset: Yields ``(image, label)``.
        statistics: Mean and standard deviation of its normalisation, if known.
        size: Of the maps.
    """

    def __init__(
        self, dataset: Dataset[Any], statistics: _Statistics, size: tuple[int, int]
    ) -> None:
        self.dataset, self.statistics, self.size = dataset, statistics, size

    def __len__(self) -> int:
        return len(self.dataset)  # type: ignore[arg-type]

    def __getitem__(self, index: int) -> Tensor:
        return self.of(arguments.example(self.dataset, index)[0])

    def of(self, image: Tensor) -> Tensor:
        """A picture, of the training set or not, likewise."""
        shown = shrunk(dataset_facts.for_display(image, self.statistics), self.size)
        return (shown * 255).round().clamp(0, 255).byte()


def collect(
    score: Score,
    mapper: Mapper,
    pictures: ShownPictures,
    test_dataset: Dataset[Any],
    mistakes: Tensor,
    ranked: Ranked,
    progress: Progress,
    show_progress: bool = False,
) -> tuple[Evidence | None, Tensor]:
    """Maps of the opponents of all mistakes, each mistake's kept as they come.

    Args:
        score: What ranked them, and is mapped.
        mapper: Draws a map.
        pictures: The training set as shown.
        test_dataset: Yields ``(image, label)``.
        mistakes: Places there, ``[Q]``.
        ranked: Their opponents.
        progress: Keeps what is found.
        show_progress: Show a progress bar.

    Returns:
        The evidence, or None if no mistake has an opponent; and the mistakes' own pictures,
        ``uint8 [Q, C, H, W]``.

    Raises:
        ValueError: A training image that has another score than in the ranking.
    """
    of_mistake, shown = [], []
    parts: dict[str, list[Tensor]] = {name: [] for name in _FIELDS}
    with tqdm(mistakes.tolist(), "maps", unit="mistake", disable=not show_progress) as bar:
        for place, test in enumerate(bar):
            row = ranked.scores[place] < 0
            indices, scores = ranked.indices[place][row], ranked.scores[place][row]
            work = _work(score, mapper, pictures, test_dataset, test, indices, scores)
            found = progress.result(f"mistake {place}", work)
            shown.append(found["shown"])
            of_mistake.append(torch.full((len(indices),), place))
            for name, values in parts.items():
                values.append(found[name])
    joined = {name: torch.cat(values) for name, values in parts.items() if values}
    images = torch.stack(shown) if shown else torch.empty(0, 1, *pictures.size, dtype=torch.uint8)
    if not joined or not len(joined["indices"]):
        return None, images
    return Evidence(mistakes=torch.cat(of_mistake), **joined), images


_FIELDS = ("indices", "labels", "scores", "maps", "images")


def _work(
    score: Score,
    mapper: Mapper,
    pictures: ShownPictures,
    test_dataset: Dataset[Any],
    test: int,
    indices: Tensor,
    scores: Tensor,
) -> Callable[[], dict[str, Tensor]]:
    def work() -> dict[str, Tensor]:
        device = next(score.model.parameters()).device
        image, label = arguments.example(test_dataset, test, "test_dataset")
        other = image.unsqueeze(0).to(device), torch.tensor([label], device=device)
        labels, maps, images = [], [], []
        for index, value in zip(indices.tolist(), scores.tolist(), strict=True):
            picture, own = arguments.example(pictures.dataset, index)
            train = picture.unsqueeze(0).to(device), torch.tensor([own], device=device)
            with torch.no_grad():
                now = score(train[0], other[0], other[1], train[1])
            shared.check_same_as_ranked(now, value, index)
            values = mapper.method.values(mapper(score, *train, other=other))
            signed = values if mapper.method.signed else values * (1 if value > 0 else -1)
            maps.append(shrunk(signed.float(), pictures.size))
            images.append(pictures.of(picture))
            labels.append(own)
        height, width = pictures.size
        channels = len(image)
        return {
            "shown": pictures.of(image),
            "indices": indices,
            "labels": torch.tensor(labels, dtype=torch.long),
            "scores": scores,
            "maps": torch.stack(maps) if maps else torch.empty(0, height, width),
            "images": torch.stack(images)
            if images
            else torch.empty(0, channels, height, width, dtype=torch.uint8),
        }

    return work
