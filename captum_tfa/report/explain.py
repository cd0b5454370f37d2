"""Which parts of which training images made my model say this about this test image?

Ranks the training set by a score, grad-cos or another, and maps the images at both ends of the
ranking [bacha2025training]. Influence has two ends as well: each training image comes
with the map of its score on itself, and on the test image.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from datetime import datetime, timezone
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.data import Dataset
from tqdm.auto import tqdm

from captum_tfa.influence import ScoreInfluence
from captum_tfa.report import arguments, dataset_facts, methods, shared
from captum_tfa.report.explanation import Answer, Explanation, Setting, TrainingExample
from captum_tfa.report.mapping import Mapper, random_state_kept
from captum_tfa.scores import GradDotScore, Score, other_side, validate

_End = list[tuple[int, float]]
"""Training examples and their scores."""


def explain(
    model: nn.Module,
    train_dataset: Dataset[Any],
    test_input: Tensor,
    test_target: int | None = None,
    k: int = 5,
    nt_samples: int = 50,
    noise_level: float = 0.1,
    *,
    score: Score | str | None = None,
    index: arguments.Indices | None = None,
    method: str | Sequence[str] | None = None,
    layer: nn.Module | str | None = None,
    loss_fn: Callable[..., Tensor] | str | None = None,
    output_fn: Callable[[Any], Tensor] | None = None,
    parameters: Any = None,
    batch_size: int | None = None,
    num_workers: int = 0,
    internal_batch_size: int | None = None,
    seed: int = 0,
    class_names: Sequence[str] | None = None,
    mean: Sequence[float] | None = None,
    std: Sequence[float] | None = None,
    show_progress: bool = False,
) -> Explanation:
    """The training images that speak most for and against a label of a test image, with maps.

    One pass over the training set scores every example. The ``k`` highest scores above 0 are the
    proponents (learning them makes the label more likely here), the ``k`` lowest below 0 the
    opponents; there are fewer if the training set has fewer. Each gets two maps: which parts of
    it, and which parts of the test image, make the score what it is. The same seed gives the
    same noise for every image, so an image's maps do not depend on ``k``. PyTorch's global random
    state, the model and its hooks are left as they were.

    Args:
        model: A classifier with logits ``[B, classes]``, in eval mode, or with one logit for two
            classes (``loss_fn=nn.BCEWithLogitsLoss(reduction="none")``). Its device is used.
        train_dataset: Map-style, yields ``(image [C, H, W], class label)``, always the same image
            for an index: use the transform for evaluation. Its ``classes``, ``samples`` and
            the ``Normalize`` of its ``transform`` are used for display, also through `Subset`.
        test_input: The image to explain, ``[C, H, W]`` or ``[1, C, H, W]``, prepared alike.
        test_target: The class asked about, in [0, classes): "why not that?". None (default)
            asks about the model's own prediction: "why did it say this?".
        k: Most proponents, and most opponents; at least 1. Default 5.
        nt_samples: Noisy copies that a map is the mean over, at least 1; points on the path for
            ``"integrated_gradients..."``. Default 50. ``"occlusion"`` has no noise.
        noise_level: Standard deviation of the noise as a part of the mapped image's own range of
            values (max − min), at least 0. Default 0.1. 0 draws maps without noise.
        score: What ranks and is mapped: any `Score` of ``model``, such as
            ``InfluenceScore(model, curvature)``, or ``"grad-cos"``, ``"grad-dot"`` or
            ``"influence"``: the cosine with curvature, for which EK-FAC is fitted to at most 2,000
            training images first (about two passes over these; with labels drawn from the model,
            or the data's own if ``loss_fn`` does not say how to draw). A score has its own
            ``loss_fn``, ``output_fn`` and ``parameters``, which are then not given here. For one
            that is not symmetric the test image's map is of the score turned round. None (default):
            "influence", whose rankings tell best which test image was asked (own finding).
            "grad-cos" is the paper's and needs no fit.
        index: A `GradientIndex` of the training set, or its folder: the ranking then takes a moment
            instead of a pass over the training set. The best by its estimates are scored again
            exactly, so all scores shown are exact ones. For a sum of scores (`TracInScore`,
            `EnsembleScore`) a list of indices or folders, one for each part in their order, or
            the folder that ``build_parts`` filled. None (default): the whole training set.
        method: The map of pixels. With ``b`` an image of the training set's mean colour and ``G``
            the mean of ``dS/dx`` over noisy copies (SmoothGrad): ``"occlusion"``, what the score
            loses when a window becomes ``b``, a quarter of the shorter side wide, moved by half of
            itself; ``"integrated_gradients"``, ``G (x - b)`` with ``G`` over the path from ``b`` to
            ``x``; ``"integrated_gradients_norm_held"``, the same of the score with the norms of
            this pair, what the pixels do to the gradients' inner product alone;
            ``"gradient_x_input"``, ``G (x - b)``; ``"gradient"``, ``G``, the paper's map.
            All but the last have a sign, and the part that has the score's own is shown. None
            (default): "occlusion", which says best what the score rests on (own finding).
            Several names give several maps of the same images: the first is drawn in the figure,
            and the report switches between them.
        layer: A module of the model, or its dotted name: maps are then ``dS/dA`` of its
            activation ``[B, C, h, w]``, averaged over channels and upsampled. None (default):
            maps of the pixels.
        loss_fn: As for `GradCosScore`. Default cross-entropy.
        output_fn: Takes the logits from the model's output. Default: the output is the logits.
        parameters: Which parameters count, as for `GradCosScore`. Default: all trainable ones.
        batch_size: Training images at once while ranking. None (default): 64 for images up to
            64 x 64 pixels, fewer for larger ones, at least 8.
        num_workers: Processes that load training images. Default 0: this one.
        internal_batch_size: Noisy copies at once while mapping. None (default): chosen to be
            safe for memory.
        seed: Seed of the noise, from 0 to 2^64 - 1.
        class_names: One name a class. None (default): the data set's ``classes``, or numbers.
        mean: Per-channel mean that the transform took away, for display. None: see above; if
            nothing is found, an image outside [0, 1] is stretched from its minimum and maximum.
        std: Per-channel standard deviation, given with ``mean``.
        show_progress: Show a progress bar for the ranking and one for the maps.

    Returns:
        An `Explanation`: ``.plot()`` draws it, ``.save(dir)`` writes it.

    Raises:
        ValueError: An argument out of its range, a data set or a model that cannot be used;
            raised before the long work, with what to do.
    """
    began = time.perf_counter()
    arguments.check_numbers(
        k, nt_samples, noise_level, batch_size, num_workers, internal_batch_size, seed
    )
    k, nt_samples, seed = int(k), int(nt_samples), int(seed)  # as JSON writes them
    drawn_by = methods.choose_all(method, of_layer=layer is not None)
    chosen = arguments.choose_score(score, model, loss_fn, output_fn, parameters)
    validate(model)
    found = arguments.find_layer(model, layer)
    image = arguments.check_image(test_input)
    given = arguments.check_statistics(mean, std, image.shape[1])
    count = arguments.check_dataset(train_dataset, image.shape[1])
    opened = None
    if index is not None:  # a score that has yet to be fitted is of the same gradients as this one
        of_index = chosen or GradDotScore(model, loss_fn, output_fn, parameters)
        opened = arguments.open_index(index, train_dataset, of_index)
    layer_asked = found[0] if found else None
    if chosen is not None:
        loss_fn, output_fn = chosen.loss_fn, chosen.output_fn
    question = arguments.ask(model, loss_fn, output_fn, image, test_target, layer_asked)
    names = shared.names_for(class_names, train_dataset, question.classes)
    batch_size = batch_size or shared.batch_size_for(image)
    statistics = given or dataset_facts.normalisation(train_dataset)

    colour = shared.typical_colour(train_dataset, count)
    mappers = [
        Mapper(way, layer_asked, colour, nt_samples, noise_level, internal_batch_size, seed)
        for way in drawn_by
    ]
    test = question.image, question.label_tensor

    def shown(index: int, value: float) -> TrainingExample:
        picture, label = arguments.example(train_dataset, index)
        train = picture.to(test[0]).unsqueeze(0), torch.full_like(test[1], label)
        with torch.no_grad():
            now = asked_with(train[0], test[0], test[1], train[1])
        shared.check_same_as_ranked(now, value, index)
        turned = other_side(asked_with, train, test)
        maps = [
            (mapper(asked_with, *train, other=test), mapper(turned, *test, other=train))
            for mapper in mappers
        ]
        return TrainingExample(
            index=index,
            score=value,
            label=label,
            label_name=shared.name_of(names, label),
            image=dataset_facts.for_display(picture, statistics),
            map=maps[0][0],
            test_map=maps[0][1],
            file=dataset_facts.file_of(train_dataset, index),
            more_maps={way.name: both for way, both in zip(drawn_by[1:], maps[1:], strict=True)},
        )

    asked_with = chosen or arguments.with_curvature(
        model, train_dataset, loss_fn, output_fn, parameters, show_progress
    )
    with random_state_kept(question.image.device):
        influence = ScoreInfluence(
            asked_with, opened or train_dataset, batch_size, num_workers, show_progress
        )
        if opened is None:
            ends = _both_ends(influence.influence(test)[0], k)
        else:
            ends = _end_of(influence, test, k, True), _end_of(influence, test, k, False)
        todo = [place for end in ends for place in end]
        with tqdm(todo, desc="mapping", unit="image", disable=not show_progress) as bar:
            mapped = [shown(place, value) for place, value in bar]

    # A fitted curvature names the parameters that it was fitted to.
    all_count = chosen is None and parameters is None
    settings: dict[str, Setting] = {
        "score": asked_with.name,
        "curvature": arguments.curvature_words(asked_with),
        "method": ",".join(way.name for way in drawn_by),
        "map": "; ".join(way.formula for way in drawn_by),
        "layer": found[1] if found else None,
        "model": type(model).__name__,
        "loss": shared.loss_words(asked_with.loss_fn),
        "parameters": "all trainable" if asked_with.choice is None or all_count else "chosen",
        "training_examples": count,
        "index": None if opened is None else arguments.index_words(opened),
        "k": k,
        "nt_samples": nt_samples,
        "noise_level": noise_level,
        "batch_size": batch_size,
        "seed": seed,
        "device": question.image.device.type,
    }
    return Explanation(
        test_image=dataset_facts.for_display(question.image[0], statistics),
        predicted=question.predicted,
        predicted_name=shared.name_of(names, question.predicted),
        confidence=question.confidence,
        label=question.label,
        label_name=shared.name_of(names, question.label),
        label_given=question.label_given,
        proponents=tuple(mapped[: len(ends[0])]),
        opponents=tuple(mapped[len(ends[0]) :]),
        method=drawn_by[0],
        settings=settings,
        versions=shared.versions(),
        answers=tuple(
            Answer(label, shared.name_of(names, label), probability)
            for label, probability in question.most_probable
        ),
        more_methods=drawn_by[1:],
        score_name=arguments.DEFAULT_SCORE if score is None else _name_of(score),
        made=datetime.now(timezone.utc).isoformat(timespec="seconds"),
        seconds=time.perf_counter() - began,
    )


def _name_of(score: Score | str) -> str | None:
    return score if isinstance(score, str) else None


def _both_ends(scores: Tensor, k: int) -> tuple[_End, _End]:
    """The ``k`` highest scores above 0, and the ``k`` lowest below 0, with their places.

    Of equal scores the earlier example goes first. No example stands on both sides.
    """
    falling = scores.argsort(descending=True, stable=True)[:k]
    rising = scores.argsort(stable=True)[:k]
    return _with_sign(falling, scores[falling], 1), _with_sign(rising, scores[rising], -1)


def _end_of(influence: ScoreInfluence, test: Any, k: int, proponents: bool) -> _End:
    """One of `_both_ends`, by way of an index."""
    places, scores = influence.influence(test, k, proponents)
    return _with_sign(places[0], scores[0], 1 if proponents else -1)


def _with_sign(places: Tensor, scores: Tensor, sign: int) -> _End:
    """Places and scores, of scores with this sign."""
    pairs = zip(places.tolist(), scores.tolist(), strict=True)
    return [(place, score) for place, score in pairs if sign * score > 0]
