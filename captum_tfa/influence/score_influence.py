"""Rank a training set by a score: which training examples matter for these test examples?"""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch
from captum.influence import DataInfluence
from captum.influence._core.tracincp import KMostInfluentialResults
from captum.log import log_usage
from torch import Tensor
from torch.utils.data import DataLoader, Dataset
from tqdm.auto import tqdm

from captum_tfa.gradients import StoredGradients
from captum_tfa.gradients.batches import (
    Batch,
    check_count,
    first_inputs,
    in_order,
    leaving_chance_alone,
    split,
)
from captum_tfa.index import GradientIndex
from captum_tfa.index.parts import indices_of
from captum_tfa.influence.from_index import FromIndex
from captum_tfa.influence.most_influential import checked_k, most_influential
from captum_tfa.scores import InfluenceByGroup, Score, SumOfScores
from captum_tfa.scores.by_group import groups_of_score, prepared_by_group
from captum_tfa.scores.groups import Grouping, Groups
from captum_tfa.scores.pairing import same_dimensions


class ScoreInfluence(DataInfluence):  # type: ignore[misc]
    """The score of every training example for each of several test examples.

    Args:
        score: `GradCosScore`, `GradDotScore`, or any other `Score` of a trained model.
        train_dataset: pairs ``(input, label)`` in a fixed order: a dataset, or a ``DataLoader``
            that does not shuffle and drops nothing. A model with several inputs takes
            ``((input, input, ...), label)``. Or a `GradientIndex` of the training set, for a sum of
            scores one for each part: the best by its estimates are then scored exactly.
        batch_size: training examples at once, for a dataset; memory grows with it. On a CPU they
            go through the model a few at a time, as many as it works on fastest.
        num_workers: processes that load a dataset's examples; 0 loads in this one.
        show_progress: whether a progress bar is shown unless a call says otherwise.
        rerank: with an index, how many of the best by its estimates are scored exactly when the
            best ``k`` are asked for, at least 0; with curvature in four rounds, each of which tells
            where the next one looks. With 0, or if the index was opened without its data set,
            scores are estimates.
        approximate: with an index, search for the best ``k`` in an eighth of it, in the lists of
            similar gradients that promise most. They are found with faiss (``pip install
            "captum_tfa[faiss]"``) by the first who asks for them, and kept in the index's folder.
            Re-ranking and scores stay as they are: what may change is which examples are
            candidates. `recall` tells how many of the best are found.

    Raises:
        TypeError: ``score``, ``train_dataset`` or ``approximate`` is of the wrong kind.
        ValueError: a loader that shuffles or drops examples, a ``batch_size`` below 1, an index
            of another model, loss or choice of parameters, or an approximate search without an
            index or for a sum of scores.
        ImportError: lists for an approximate search are still to be found, and faiss is not
            installed.
    """

    def __init__(
        self,
        score: Score,
        train_dataset: Dataset[Any] | DataLoader[Any] | GradientIndex | Sequence[GradientIndex],
        batch_size: int = 64,
        num_workers: int = 0,
        show_progress: bool = False,
        rerank: int = 200,
        approximate: bool = False,
    ) -> None:
        if not isinstance(score, Score):
            raise TypeError(
                f"score is a {type(score).__name__}; it must be a score such as "
                "GradCosScore(model)."
            )
        if isinstance(rerank, bool) or not hasattr(rerank, "__index__") or rerank < 0:
            raise ValueError(f"rerank is {rerank!r}; it must be a whole number of at least 0.")
        if not isinstance(approximate, bool):
            raise TypeError(
                f"approximate is a {type(approximate).__name__}; it must be True or False."
            )
        self.score, self.model = score, score.model
        self.train_dataset = train_dataset
        self.show_progress, self.rerank = show_progress, operator.index(rerank)
        self._index: FromIndex | None = None
        indices = indices_of(train_dataset)
        if indices is not None:
            self._index = FromIndex(score, indices, batch_size, approximate)
            if self._index.data is not None:
                self._loader = self._index.data.loader
        else:
            if approximate:
                raise ValueError(
                    "An approximate search needs an index: give GradientIndex.build(score, "
                    "train_dataset, folder) in the place of the data set, or leave approximate out."
                )
            self._loader = in_order(train_dataset, batch_size, num_workers)

    @log_usage()  # type: ignore[untyped-decorator]
    def influence(
        self,
        inputs: Any,
        k: int | None = None,
        proponents: bool = True,
        show_progress: bool | None = None,
        by_group: Grouping | None = None,
    ) -> Tensor | KMostInfluentialResults | InfluenceByGroup:
        """Scores of the training examples for test examples.

        Args:
            inputs: test images ``[Q, ...]``, or ``(test_images, labels)``. Labels are as in
                `Score.forward`; without them each test image is explained for what the model
                itself predicts. A model with several inputs takes ``((input, ...), labels)``,
                where labels may be ``None``.
            k: how many of the most influential training examples to return; ``None`` returns
                the score of every one. With ``k`` memory does not grow with the training set (of a
                sum of scores by one number a pair).
            proponents: with ``k``, whether the highest scores come first (helpful examples) or
                the lowest (opponents, harmful ones).
            show_progress: overrides the constructor's.
            by_group: also tell what each parameter, layer or group of one's own contributes to
                each score; as in `Score.by_parameter`.

        Returns:
            Without ``k`` scores ``[Q, N]`` in the order of the training set. With ``k``
            ``KMostInfluentialResults(indices, influence_scores)``, each ``[Q, min(k, N)]``. With
            ``by_group`` an `InfluenceByGroup` in either case. On the CPU. From an index the scores
            of all are estimates, and the best ``k`` are exact.

        Raises:
            TypeError: training data that are no pairs, a ``by_group`` of the wrong kind.
            ValueError: ``k`` below 1, no training example, groups that overlap or leave a parameter
                out, images of several sizes in a batch, a loader that leaves examples out, test
                images with other dimensions than training images; otherwise see `Score.forward`.
                The training example is named by its index.
        """
        k = checked_k(k)
        test_inputs, test_target = split(inputs)
        if self._index is not None:
            if by_group is not None:
                raise ValueError(
                    "An index adds up all parameters, so it knows no groups; give by_group to "
                    "ScoreInfluence(score, train_dataset)."
                )
            if self._index.data is not None:
                self._refuse_other_images(test_inputs)
            if k is None:
                return torch.cat([*self._index.scores(test_inputs, test_target)], 1)
            wanted = k, proponents, self.rerank
            return KMostInfluentialResults(*self._index.best(test_inputs, test_target, *wanted))
        groups = None if by_group is None else groups_of_score(self.score, by_group)
        if not isinstance(self.score, SumOfScores):
            parts = self._scores(self.score, test_inputs, test_target, show_progress, groups)
        else:
            # The parts come one after the other, each with a walk through the training set.
            self._refuse_other_images(test_inputs)
            if test_target is None:
                test_target = self.score.predictions(test_inputs)

            def table(part: Score) -> tuple[Tensor]:
                scores = self._scores(part, test_inputs, test_target, show_progress, groups)
                return (torch.cat(list(scores), 1),)

            parts = iter(self.score.over_parts(table))
        if k is None:
            whole = torch.cat(list(parts), dim=1)
            if groups is None:
                return whole
            indices = torch.arange(whole.shape[1]).expand(whole.shape[:2])
            return InfluenceByGroup.unpacked(indices, whole, groups)
        indices, best = most_influential(parts, k, proponents)
        if groups is None:
            return KMostInfluentialResults(indices, best)
        return InfluenceByGroup.unpacked(indices, best, groups)

    @log_usage()  # type: ignore[untyped-decorator]
    def self_influence(self, show_progress: bool | None = None) -> Tensor:
        """The score of each training example for itself, ``[N]``, on the CPU.

        For grad-dot this is the squared gradient norm: the highest values are atypical or
        mislabelled examples. For grad-cos it is 1 by definition.

        Args:
            show_progress: overrides the constructor's.
        """
        if self._index is not None:
            return self._index.self_influence()

        def of(part: Score) -> tuple[Tensor]:
            return (torch.cat([*self._each_batch(part.of_itself, what, show_progress)]),)

        what = "self-influence"
        return self.score.over_parts(of)[0]

    def recall(self, inputs: Any, k: int = 10, proponents: bool = True) -> Tensor:
        """How much of the exact ranking's best ``k`` the index finds, which costs that ranking.

        Args:
            inputs: as for `influence`.
            k: how many, at least 1.
            proponents: as for `influence`.

        Returns:
            For each test example the share of the ``k`` best that `influence` returns, ``[Q]``,
            within [0, 1].

        Raises:
            ValueError: there is no index, or it was opened without its data set.
        """
        if self._index is None or self._index.data is None:
            raise ValueError(
                "recall compares an index with the exact ranking: give ScoreInfluence an index "
                "that was opened with its data set, GradientIndex.open(folder, train_dataset)."
            )
        exact = ScoreInfluence(self.score, self._index.data.dataset, self._index.batch_size)
        found, wanted = (
            each.influence(inputs, k, proponents, False).indices for each in (self, exact)
        )
        same: Tensor = found[:, :, None] == wanted[:, None]
        return same.any(1).float().mean(1)

    def _tests(self, score: Score, inputs: Any, target: Any) -> StoredGradients:
        """The test gradients, once it is known that the images are like those of training."""
        self._refuse_other_images(inputs)
        return score.test_gradients(inputs, target)

    def _refuse_other_images(self, inputs: Any) -> None:
        given = inputs if isinstance(inputs, tuple | list) else (inputs,)
        first = first_inputs(self._loader)
        if first is not None and all(isinstance(tensor, Tensor) for tensor in given):
            same_dimensions(given, first, "The test input")

    def _scores(
        self,
        score: Score,
        test_inputs: Any,
        test_target: Any,
        show_progress: bool | None,
        groups: Groups | None,
    ) -> Iterator[Tensor]:
        """Scores ``[Q, B]`` of one batch of training examples after the other.

        With groups also what they contribute, ``[Q, B, 1 + 2G]``.
        """
        against: Callable[[tuple[Tensor, ...], Tensor], Tensor]
        if groups is None:
            tests = self._tests(score, test_inputs, test_target)

            def against(inputs: tuple[Tensor, ...], labels: Tensor) -> Tensor:
                return score.against(inputs, labels, tests)
        else:
            self._refuse_other_images(test_inputs)
            prepared = prepared_by_group(score, test_inputs, test_target, groups)
            against = prepared.against

        for scores in self._each_batch(against, "ranking", show_progress):
            yield scores.transpose(0, 1)

    def _each_batch(
        self,
        compute: Callable[[tuple[Tensor, ...], Tensor], Tensor],
        what: str,
        show_progress: bool | None,
    ) -> Iterator[Tensor]:
        """What is computed of one batch after the other, on the CPU."""
        done = 0
        for batch in self._batches(what, show_progress):
            try:
                yield compute(batch.inputs, batch.labels).cpu()
            except (TypeError, ValueError, RuntimeError) as error:
                raise _told_where(error, compute, batch, done) from error
            done += len(batch)

    def _batches(self, what: str, show_progress: bool | None) -> Iterator[Batch]:
        shown = self.show_progress if show_progress is None else show_progress
        device = next(self.model.parameters()).device
        found = 0
        with tqdm(total=_length(self._loader), desc=what, unit="batch", disable=not shown) as bar:
            for loaded in leaving_chance_alone(self._loader):
                batch = Batch.of(loaded, device, found)
                found += len(batch)
                yield batch
                bar.update()
        if not found:
            raise ValueError("The training set is empty; there is nothing to rank.")
        check_count(self._loader, found)


def _length(loader: DataLoader[Any]) -> int | None:
    try:
        return len(loader)
    except TypeError:  # a stream without a length
        return None


def _told_where(
    error: Exception,
    compute: Callable[[tuple[Tensor, ...], Tensor], Tensor],
    batch: Batch,
    start: int,
) -> Exception:
    """The error with the index of the training example that raises it, if one alone does."""
    if isinstance(error, torch.OutOfMemoryError):
        return error
    kind = next(kind for kind in (TypeError, ValueError, RuntimeError) if isinstance(error, kind))
    for row in range(len(batch)):
        here = slice(row, row + 1)
        try:
            compute(tuple(tensor[here] for tensor in batch.inputs), batch.labels[here])
        except kind as alone:
            return kind(f"Training example {start + row}: {alone}")
    return kind(f"Training examples {start} to {start + len(batch) - 1}: {error}")
