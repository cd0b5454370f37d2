"""Does the model lose its answer when the named regions are covered and it is trained anew?

A map says: *this region* of that training image made the model say so. Then a model trained with
these regions covered, in the top k proponents of a test image, must say it less. What it says less
is compared with covering as much of the same images elsewhere (at random, in the middle, where
ordinary attribution of the own label points), and with removing these images altogether. For
opponents the same, the other way round.

Everything else of the training set stays, so an effect can be small where many other images teach
the same; a planted cue is where it must be there.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.data import Dataset

from captum_tfa.metrics.error_correction import Blanked, without_examples
from captum_tfa.metrics.fresh_start import Train
from captum_tfa.metrics.intervals import Interval, normal_interval
from captum_tfa.metrics.masking import top_mask
from captum_tfa.metrics.paired import PairedDifference, paired_difference
from captum_tfa.metrics.retraining import Change, Measure, read_runs, retrain_each

WHOLE = "whole images"
_UNCHANGED = "unchanged"


@dataclass(frozen=True)
class CounterfactualRegions:
    """What covering regions of a query's training images does to what is said of it.

    Attributes:
        choosers: Who chose the regions: the names of the saliencies, and `WHOLE` for removing the
            images altogether.
        tops: In how many of the images, rising.
        effects: Output after − output without any change, of the query itself, with the same seed:
            ``[choosers, tops, Q, S]``, float64; NaN where there is no model yet. Below 0 the model
            says it less.
        unchanged: Outputs without any change, ``[Q, S]``; NaN likewise.
    """

    choosers: tuple[str, ...]
    tops: tuple[int, ...]
    effects: Tensor
    unchanged: Tensor

    def effect(self, chooser: str, top: int) -> Interval:
        """The mean effect over queries, each by its mean over seeds, with its interval.

        Raises:
            ValueError: Such a chooser or top was not asked for, or has no model yet.
        """
        values = self._of(chooser, top).nanmean(1)
        return normal_interval(values[~values.isnan()])

    def gap(self, chooser: str, control: str, top: int) -> PairedDifference:
        """Effect minus that of a control over queries, with the seeds that both have.

        The lower one wins, as is right for proponents.

        Raises:
            ValueError: As `effect`.
        """
        gaps = (self._of(chooser, top) - self._of(control, top)).nanmean(1)
        gaps = gaps[~gaps.isnan()]
        return paired_difference(gaps, torch.zeros_like(gaps))

    def _of(self, chooser: str, top: int) -> Tensor:
        if chooser not in self.choosers or top not in self.tops:
            raise ValueError(
                f"{chooser!r} with top {top} was not asked for; there are "
                f"{', '.join(map(repr, self.choosers))} with top {', '.join(map(str, self.tops))}"
            )
        return self.effects[self.choosers.index(chooser), self.tops.index(top)]


def counterfactual_regions(
    train: Train,
    dataset: Dataset[Any],
    images: Tensor,
    saliencies: Mapping[str, Tensor],
    fill: Tensor,
    measure: Measure,
    directory: str | os.PathLike[str],
    *,
    tops: Sequence[int] = (1, 10, 50, 200),
    fraction: float = 0.25,
    block: int = 1,
    mask_seed: int = 0,
    seeds: Sequence[int] = (0,),
    settings: Mapping[str, Any] | None = None,
    start: nn.Module | None = None,
    show_progress: bool = False,
) -> CounterfactualRegions:
    """Covers regions of each query's training images, trains anew, and looks at the query.

    Costs ``(1 + Q * tops * (saliencies + 1)) * seeds`` trainings. All for the first seed come
    first; those that the folder has are not done again.

    Args:
        train: ``train(dataset, seed) -> model``, see `retrain_subsets`. With ``start``, it goes on
            from that checkpoint instead of making a model.
        dataset: The training set, map-style, yields ``(image [C, H, W], label)``.
        images: Indices of each query's training images, most influential first, ``[Q, n]``, such
            as the ``indices`` that `ScoreInfluence` gives for proponents, or for opponents.
        saliencies: By name, ``[Q, n, H, W]``: what to cover first in each. The map itself (of a
            signed one `positive_mass`; of its negative for opponents), and controls: see
            `captum_tfa.metrics.controls`.
        fill: What a region becomes: a colour ``[C]``, see `mean_colour`, or an image.
        measure: From a model to one number for each query, ``[Q]``, such as
            ``MeasuredOutput(test_images, labels, "logit")``.
        directory: Where what each model says is kept; of this experiment alone.
        tops: In how many of the images, each from 1 to n, rising.
        fraction: How much of an image is covered, in [0, 1]; the same for all saliencies.
        block: Regions consist of ``block x block`` cells, see `top_mask`.
        mask_seed: Of the order of tied cells.
        seeds: Seeds of training.
        settings: What else the results depend on. Fraction, block and tops need not be told: the
            masks themselves are kept, and compared.
        start: A checkpoint that every training must go on from; None trains from scratch.
        show_progress: Show a progress bar over the trainings.

    Returns:
        The effects of all of these.

    Raises:
        ValueError: Shapes that do not fit, a saliency called "whole images", tops that do not
            rise within 1 to n; otherwise see `retrain_subsets` and `top_mask`.
    """
    _check(images, saliencies, tops)
    changes = {_UNCHANGED: Change(dataset, {})}
    for query, own in enumerate(images.cpu()):
        masks = {
            name: top_mask(saliency[query].cpu(), fraction, block, mask_seed)
            for name, saliency in saliencies.items()
        }
        for top in tops:
            chosen = own[:top]
            for name, mask in masks.items():
                changes[_name(query, top, name)] = Change(
                    Blanked(dataset, chosen, mask[:top], fill),
                    {"images": chosen, "covered": mask[:top]},
                )
            changes[_name(query, top, WHOLE)] = Change(
                without_examples(dataset, chosen), {"images": chosen}
            )
    retrain_each(
        train,
        changes,
        _for_queries(measure, len(images)),
        directory,
        seeds=seeds,
        settings={**getattr(measure, "settings", {}), **(settings or {})},
        start=start,
        show_progress=show_progress,
    )
    return read_counterfactual_regions(directory)


def read_counterfactual_regions(directory: str | os.PathLike[str]) -> CounterfactualRegions:
    """What the models of `counterfactual_regions` said so far, also while it runs.

    Raises:
        FileNotFoundError: No such folder.
        ValueError: Its models were trained for something else, or there is none.
    """
    found = {(name, seed): run.tensors["outputs"] for name, seed, run in read_runs(directory)}
    asked = [name.split(", ", 2) for name, _ in found if name != _UNCHANGED]
    if not any(name == _UNCHANGED for name, _ in found) or any(len(part) != 3 for part in asked):
        raise ValueError(f"{directory} holds no model of counterfactual_regions yet")
    choosers = tuple(dict.fromkeys(chooser for _, _, chooser in asked))
    tops = sorted({int(top.removeprefix("top ")) for _, top, _ in asked})
    seeds = sorted({seed for _, seed in found})
    queries = len(next(iter(found.values())))
    nothing = torch.full((queries,), torch.nan, dtype=torch.double)

    def said(query: int, name: str) -> Tensor:
        return torch.stack([found.get((name, seed), nothing)[query] for seed in seeds])

    unchanged = torch.stack([said(query, _UNCHANGED) for query in range(queries)])
    effects = torch.full((len(choosers), len(tops), queries, len(seeds)), torch.nan).double()
    for row, chooser in enumerate(choosers):
        for column, top in enumerate(tops):
            for query in range(queries):
                after = said(query, _name(query, top, chooser))
                effects[row, column, query] = after - unchanged[query]
    return CounterfactualRegions(choosers, tuple(tops), effects, unchanged)


def _name(query: int, top: int, chooser: str) -> str:
    return f"query {query}, top {top}, {chooser}"


def _for_queries(measure: Measure, queries: int) -> Measure:
    def measured(model: nn.Module) -> Tensor:
        outputs = measure(model)
        if len(outputs) != queries:
            raise ValueError(
                f"measure gave {len(outputs)} numbers for {queries} queries; give one a query"
            )
        return outputs

    return measured


def _check(images: Tensor, saliencies: Mapping[str, Tensor], tops: Sequence[int]) -> None:
    if images.dim() != 2 or images.is_floating_point():
        raise ValueError(
            f"images are {images.dtype} {list(images.shape)}; give indices of the training images "
            "of each query, [Q, n]"
        )
    if not saliencies or WHOLE in saliencies:
        raise ValueError(
            f"the saliencies are called {', '.join(map(repr, saliencies)) or '(none)'}; give at "
            f"least one, and none called {WHOLE!r}, which removes the images"
        )
    for name, saliency in saliencies.items():
        if saliency.dim() != 4 or saliency.shape[:2] != images.shape:
            raise ValueError(
                f"the saliency {name!r} has the shape {list(saliency.shape)} for images "
                f"{list(images.shape)}; give [Q, n, H, W]"
            )
    rising = [0, *tops]
    if (
        len(rising) < 2
        or any(a >= b for a, b in pairwise(rising))
        or (rising[-1] > images.shape[1])
    ):
        raise ValueError(
            f"tops is {list(tops)}; give numbers that rise within 1 to {images.shape[1]}, the "
            "training images of a query"
        )
