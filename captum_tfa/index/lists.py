"""An approximate search: a few lists of similar training gradients are read, not all of them.

Spherical k-means of faiss, on a bounded sample, puts every ``φ / ‖g‖`` into the list whose centre
has the greatest inner product with it. A question reads the most promising lists. Only the choice
of lists is approximate: what is in them is scored by the index's own projections and norms, so that
one set of lists serves scores that divide by the training gradient's norm and scores that do not.
"""

from __future__ import annotations

import hashlib
import importlib
import math
from typing import Any

import torch
from torch import Tensor

from captum_tfa.index.gradient_index import GradientIndex
from captum_tfa.index.kept import read_kept, write_kept
from captum_tfa.index.rows import Rows
from captum_tfa.index.search import Best, Ranking, Scoring
from captum_tfa.index.settings import FILE

_KEPT = "lists.safetensors"
#: The share of the lists that a question reads.
SHARE = 1 / 8
# The sample from which centres are found holds so many numbers at most (128 MB), and so many
# examples a list at least.
_SAMPLE_NUMBERS, _SAMPLE_OF_LIST = 2**25, 8
_ITERATIONS = 10


class Lists:
    """The training examples of an index in about ``√N`` lists of similar gradients.

    Found once and kept beside the index; found anew if the index has become another one.

    Args:
        index: the finished index.
        share: the share of the lists that a question reads, within (0, 1].

    Raises:
        ImportError: there are no lists yet, and faiss, which finds them, is not installed.
        ValueError: the index is not finished, or a file is missing or has been cut.
    """

    def __init__(self, index: GradientIndex, share: float = SHARE) -> None:
        self.index = index
        norms = index.norms
        centres, self._list_of = _found(index)
        count = len(centres)
        # Maps that stay know the pages that were read: scattered rows then take half the time.
        self._rows = list(index.chunks())
        self._read = math.ceil(share * count)
        self._sizes = self._list_of.bincount(minlength=count)
        longest = torch.zeros(count).scatter_reduce_(0, self._list_of, norms, "amax")
        # A list promises what an example at its centre would give that has its greatest norm.
        self._promises = Rows(0, centres, longest, torch.zeros(count), 1.0)

    def best(self, vectors: Tensor, scoring: Scoring, k: int, highest: bool) -> Best:
        """The ``k`` best training examples of the lists that are read; arguments as of `best`.

        So many lists are read that they hold ``k`` examples. Of equal scores the earlier example
        comes first.
        """
        read = self._lists_to_read(
            scoring(self._promises, self._promises.inner(vectors)), k, highest
        )
        ranking = Ranking(k, highest)
        for _, rows in zip(self.index.chunks(), self._rows, strict=True):  # as checked as ever
            lists = self._list_of[rows.start : rows.start + len(rows.norms)]
            places = read[:, lists].any(0).nonzero()[:, 0]
            if not len(places):
                continue
            some = rows.part(places)
            scores = scoring(some, some.inner(vectors))
            # What stands in another question's lists only is none of this one's candidates.
            elsewhere = ~read[:, lists[places]]
            scores = scores.masked_fill(elsewhere, -math.inf if highest else math.inf)
            ranking.add(scores, rows.start + places)
        return ranking.found()

    def _lists_to_read(self, promised: Tensor, k: int, highest: bool) -> Tensor:
        """Which lists each question reads, ``[Q, L]``, from what they promise."""
        order = promised.argsort(dim=1, descending=highest, stable=True)
        sizes = self._sizes[order]
        missing = sizes.cumsum(1) - sizes < k
        wanted = missing | (torch.arange(len(self._sizes)) < self._read)
        return torch.zeros_like(wanted).scatter(1, order, wanted)


def _found(index: GradientIndex) -> tuple[Tensor, Tensor]:
    """Centres ``[L, D]`` and each example's list ``[N]``, kept or new."""
    identity = _identity(index)
    kept = read_kept(index.folder / _KEPT, identity)
    if kept is not None:
        centres, list_of = kept["centres"], kept["list_of"].long()
        if int(list_of.min()) >= 0 and int(list_of.max()) < len(centres):
            return centres, list_of
    centres = _centres(index)
    parts = [
        (part @ centres.T).argmax(1)
        for rows in index.chunks()
        for part in rows.directions(torch.device("cpu"))
    ]
    used, list_of = torch.cat(parts).unique(return_inverse=True)  # no list without examples
    centres = centres[used]
    tensors = {"centres": centres, "list_of": list_of.to(torch.int32)}
    write_kept(index.folder / _KEPT, tensors, identity)
    return centres, list_of


def _identity(index: GradientIndex) -> str:
    """A hash of the settings and of all checksums."""
    seals = (index.folder / f"{number:06d}.json" for number in range(index.settings.shards))
    digest = hashlib.sha256()
    for path in (index.folder / FILE, *seals):
        digest.update(path.read_bytes())
    return digest.hexdigest()


def _centres(index: GradientIndex) -> Tensor:
    """Unit vectors ``[L, D]`` in the middle of directions that are alike."""
    kmeans = _faiss().Kmeans
    size = min(len(index), max(_SAMPLE_OF_LIST, _SAMPLE_NUMBERS // index.dimension))
    count = max(1, min(math.isqrt(len(index)), size // _SAMPLE_OF_LIST))
    chance = torch.Generator().manual_seed(0)
    chosen = torch.zeros(len(index), dtype=torch.bool)
    chosen[torch.randperm(len(index), generator=chance)[:size]] = True
    sample = [
        part.clone()
        for rows in index.chunks()
        for part in rows.part(
            chosen[rows.start : rows.start + len(rows.norms)].nonzero()[:, 0]
        ).directions(torch.device("cpu"))
    ]
    vectors = torch.nn.functional.normalize(torch.cat(sample), dim=1).numpy()
    # The sample is bounded here; faiss would take another part of it, or warn of few examples.
    limits = {"min_points_per_centroid": 1, "max_points_per_centroid": size}
    found = kmeans(index.dimension, count, niter=_ITERATIONS, spherical=True, seed=1, **limits)
    found.train(vectors)
    return torch.from_numpy(found.centroids.reshape(count, index.dimension).copy())


def _faiss() -> Any:
    try:
        return importlib.import_module("faiss")
    except ImportError as error:
        raise ImportError(
            "An approximate search finds its lists with faiss, which is not installed: "
            'pip install "captum_tfa[faiss]"'
        ) from error
