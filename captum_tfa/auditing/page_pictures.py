"""Pictures and heat maps of an audit's page, as text, with an eye on how large it gets."""

from __future__ import annotations

import base64
import io

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from captum_tfa.auditing.collecting import shrunk
from captum_tfa.auditing.result import Audit
from captum_tfa.report import embedding
from captum_tfa.report.heat import HEAT_COLOURS, common_top, relative_mean

_THUMBNAIL = 64  # longest side of the pictures in lists
_MARKUP = 600  # characters that stand around a picture, about
_MOST_HEATS = 200  # so many maps tell the scale


class Pictures:
    """The pictures of one page.

    Attributes:
        top: The top of the scale of all heat maps, in multiples of a map's mean.
        places: The places of the mistakes in the audit's list, by their places in the test set.
    """

    def __init__(self, audit: Audit, most_bytes: int) -> None:
        self._audit = audit
        self._left = most_bytes
        self._of: dict[int, Tensor] = dict(audit.pictures)
        self._thumbnails: dict[int, str] = {}
        self.places = {mistake.index: place for place, mistake in enumerate(audit.mistakes)}
        self.top = 1.0
        if audit.evidence is not None:
            for row, index in enumerate(audit.evidence.indices.tolist()):
                self._of.setdefault(index, audit.evidence.images[row])
            step = max(1, len(audit.evidence) // _MOST_HEATS)
            some = [
                audit.evidence.responsible_of(row).double()
                for row in range(0, len(audit.evidence), step)
            ]
            self.top = common_top([heat / relative_mean(heat) for heat in some])

    def room(self) -> bool:
        """Whether the page may hold more pictures."""
        return self._left > 0

    def whole(self, image: Tensor) -> str:
        """A picture ``[C, H, W]`` in [0, 1], or of bytes."""
        return self._counted(embedding.picture(_in_unit(image)))

    def of_pair(self, member: int) -> str:
        """The training image of a pair of the evidence."""
        assert self._audit.evidence is not None, "pairs are of evidence"
        return self.whole(self._audit.evidence.images[member])

    def of_training(self, index: int) -> str:
        """A training image, small; empty if the audit does not hold it."""
        if index not in self._of:
            return ""
        if index not in self._thumbnails:
            self._thumbnails[index] = embedding.picture(_small(self._of[index]))
        return self._counted(self._thumbnails[index])

    def of_mistake(self, place: int) -> str:
        """The test image of a mistake, small."""
        return self._counted(embedding.picture(_small(self._audit.mistakes[place].image)))

    def mean_image(self, members: Tensor) -> str:
        """The mean of the training images of some pairs."""
        assert self._audit.evidence is not None, "pairs are of evidence"
        images = self._audit.evidence.images
        total = torch.zeros(images.shape[1:], dtype=torch.double)
        for member in members.tolist():  # one at a time, to spare memory
            total += _in_unit(images[member])
        return self.whole(total / len(members))

    def heat_of_pair(self, member: int) -> str:
        """What makes the score of a pair of the evidence what it is."""
        assert self._audit.evidence is not None, "pairs are of evidence"
        return self.heat(self._audit.evidence.responsible_of(member))

    def heat(self, heat: Tensor) -> str:
        """A map ``[H, W]``, at least 0, in colours that let the picture below show."""
        scaled = heat.double() / relative_mean(heat.double()) / self.top
        pixels = HEAT_COLOURS(scaled.clamp(0, 1).numpy(), bytes=True)
        pixels[scaled.numpy() <= 0] = 0
        file = io.BytesIO()
        Image.fromarray(np.ascontiguousarray(pixels), "RGBA").save(file, "PNG", optimize=True)
        text = base64.b64encode(file.getvalue()).decode()
        return self._counted(f"data:image/png;base64,{text}")

    def _counted(self, text: str) -> str:
        self._left -= len(text) + _MARKUP
        return text


def _in_unit(image: Tensor) -> Tensor:
    return image.float() / 255 if image.dtype == torch.uint8 else image.float()


def _small(image: Tensor) -> Tensor:
    height, width = image.shape[-2:]
    scale = min(1.0, _THUMBNAIL / max(height, width))
    return shrunk(_in_unit(image), (max(1, round(height * scale)), max(1, round(width * scale))))
