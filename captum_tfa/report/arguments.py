"""Finds what is wrong with the arguments of `explain` before any long work starts."""

from __future__ import annotations

import difflib
import operator
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.data import IterableDataset

from captum_tfa.curvature import Curvature, fit_curvature
from captum_tfa.curvature.labels import can_be_drawn
from captum_tfa.gradients.losses import ExampleLosses
from captum_tfa.gradients.selection import choose
from captum_tfa.index import GradientIndex
from captum_tfa.index.parts import open_folder, refuse_other_parts
from captum_tfa.scores import GradCosScore, GradDotScore, InfluenceScore, Score

# So many images, spread over the data set, are fetched twice, to see whether they are the same.
_FETCHED_TWICE = 32


Indices = GradientIndex | str | os.PathLike[str] | Sequence[GradientIndex | str | os.PathLike[str]]
"""An index or its folder; for a sum of scores several, or the folder of all of them."""

SCORES: dict[str, type[Score]] = {"grad-cos": GradCosScore, "grad-dot": GradDotScore}
"""The scores that need nothing but the model, by name."""

WITH_CURVATURE = "influence"
"""The name of the cosine with curvature, which has to be fitted first."""

FITTED_TO = 2000
"""So many training images are enough for that."""

DEFAULT_SCORE = WITH_CURVATURE
"""The score that is taken if the user names none: its rankings tell best what was asked."""

_ANSWERS = 5  # so many of the model's answers are told

_SEEDS = 2**64  # as many as torch knows


@dataclass(frozen=True, eq=False)
class Question:
    """What is asked of the model: one image, one label, with the model's own answer beside it.

    Attributes:
        image: ``[1, C, H, W]``, on the model's device.
        label: The class asked about.
        label_given: Whether the user gave it.
        predicted: The class that the model says.
        confidence: Its softmax probability, in [0, 1].
        most_probable: ``(class, probability)`` of the five most probable classes, or of all if
            there are fewer; best first.
        classes: How many classes the model tells apart; 2 by one logit.
    """

    image: Tensor
    label: int
    label_given: bool
    predicted: int
    confidence: float
    most_probable: tuple[tuple[int, float], ...]
    classes: int

    @property
    def label_tensor(self) -> Tensor:
        """The label as the scores want it, ``[1]``."""
        return torch.tensor([self.label], device=self.image.device)


def check_numbers(
    k: int,
    nt_samples: int,
    noise_level: float,
    batch_size: int | None,
    num_workers: int,
    internal_batch_size: int | None,
    seed: int,
) -> None:
    """Raises ValueError for the first number outside its range."""
    whole = [("k", k, 1), ("nt_samples", nt_samples, 1), ("num_workers", num_workers, 0)]
    for name, size in (("batch_size", batch_size), ("internal_batch_size", internal_batch_size)):
        if size is not None:
            whole.append((name, size, 1))
    for name, value, least in whole:
        check_whole(name, value, least)
    check_seed(seed, _SEEDS)
    if not 0 <= noise_level < float("inf"):
        raise ValueError(
            f"noise_level is {noise_level!r}; it must be 0 or more: "
            "0.1 is a tenth of an image's range of values, 0 draws one map without noise"
        )


def check_whole(name: str, value: Any, least: int, otherwise: str = "") -> None:
    """Raises ValueError for what is no whole number of at least ``least``.

    Args:
        name: Of the argument.
        value: What was given.
        least: The smallest that is allowed.
        otherwise: What else is allowed, in words.
    """
    number = _index(value)
    if number is None or number < least:
        raise ValueError(
            f"{name} is {value!r}; it must be a whole number, at least {least}{otherwise}"
        )


def check_seed(seed: Any, count: int) -> None:
    """Raises ValueError for what is none of the first ``count`` whole numbers."""
    number = _index(seed)
    if number is None or not 0 <= number < count:
        raise ValueError(f"seed is {seed!r}; it must be a whole number from 0 to {count - 1}")


def with_curvature(
    model: nn.Module,
    train_dataset: Any,
    loss_fn: Callable[..., Tensor] | str | None,
    output_fn: Callable[[Any], Tensor] | None,
    parameters: Any,
    show_progress: bool,
) -> InfluenceScore:
    """The cosine with curvature, EK-FAC fitted to some of the training images.

    Labels are drawn from the model where the loss says how, and are the data's own otherwise.
    """
    trained_with = None if isinstance(loss_fn, str) else loss_fn  # a name is of a measure, no loss
    losses = ExampleLosses(trained_with, output_fn)
    curvature = fit_curvature(
        model,
        train_dataset,
        labels="sampled" if can_be_drawn(losses) else "true",
        max_examples=min(len(train_dataset), FITTED_TO),
        loss_fn=trained_with,
        output_fn=output_fn,
        parameters=parameters,
        show_progress=show_progress,
    )
    return InfluenceScore(model, curvature, "cos", loss_fn, output_fn)


def curvature_words(score: Score) -> str | None:
    """Which curvature a score has, in words; None if it has none of ours."""
    curvature = getattr(score, "curvature", None)
    if not isinstance(curvature, Curvature):
        return None
    labels = curvature.fingerprint.settings.get("labels")
    return f"{curvature.kind}, damping {curvature.damping:g}, {labels} labels"


def choose_score(
    score: Score | str | None,
    model: nn.Module,
    loss_fn: Callable[..., Tensor] | str | None,
    output_fn: Callable[[Any], Tensor] | None,
    parameters: Any,
) -> Score | None:
    """The score that was asked for; ``None`` for one that has yet to be fitted.

    Raises:
        ValueError: No score of this name, one of another model, or settings given twice.
    """
    score = DEFAULT_SCORE if score is None else score
    if isinstance(score, str) and score == WITH_CURVATURE:
        choose(model, parameters)  # a wrong choice is told before the fit
        return None
    if isinstance(score, str):
        if score not in SCORES:
            raise ValueError(
                f"score is {score!r}; it must be one of {', '.join((*SCORES, WITH_CURVATURE))}, or "
                "a score such as InfluenceScore(model, curvature)"
            )
        return SCORES[score](model, loss_fn, output_fn, parameters)
    if not isinstance(score, Score):
        raise ValueError(
            f"score is {_describe(score)}; it must be a name or a score such as "
            "InfluenceScore(model, curvature)"
        )
    if score.model is not model:
        raise ValueError("score belongs to another model; make it of the model that is explained")
    given = {"loss_fn": loss_fn, "output_fn": output_fn, "parameters": parameters}
    twice = [name for name, value in given.items() if value is not None]
    if twice:
        raise ValueError(
            f"{' and '.join(twice)} and score are given; a score has its own: give it when the "
            "score is made"
        )
    return score


def open_index(index: Indices, train_dataset: Any, score: Score) -> list[GradientIndex]:
    """The index, or those of the parts of a sum, with the training set at hand.

    Args:
        index: As the user gave it.
        train_dataset: Of which it must be.
        score: Whose gradients it must hold.

    Raises:
        ValueError: It is of another data set, or of another model, loss or choice of parameters
            than the score; one index for a sum, or several for one score, or another number than
            parts, or in another order; something that is no index.
        FileNotFoundError: There is no index in a folder.
    """
    if isinstance(index, str | os.PathLike):
        opened = open_folder(index, train_dataset)
    else:
        given = index if isinstance(index, list | tuple) else [index]
        opened = [_opened(each, train_dataset) for each in given]
    refuse_other_parts(score, opened)
    return opened


def _opened(index: Any, train_dataset: Any) -> GradientIndex:
    if not isinstance(index, GradientIndex | str | os.PathLike):
        raise ValueError(
            f"index is {_describe(index)}; it must be a GradientIndex or its folder, or for a sum "
            "of scores a list of these, or the folder that build_parts filled"
        )
    folder = index.folder if isinstance(index, GradientIndex) else index
    return GradientIndex.open(folder, train_dataset)


def index_words(opened: Sequence[GradientIndex]) -> str:
    """What is kept of each example, in words."""
    numbers = ", ".join(dict.fromkeys(str(each.dimension) for each in opened))
    parts = f" of each of {len(opened)} parts" if len(opened) > 1 else ""
    return f"{numbers} numbers an example{parts}"


def check_statistics(
    mean: Sequence[float] | None, std: Sequence[float] | None, channels: int
) -> tuple[list[float], list[float]] | None:
    """``(mean, std)`` as lists, or None if none was given.

    Raises:
        ValueError: One without the other, not 1 or ``channels`` values, or a std of 0 or less.
    """
    if mean is None and std is None:
        return None
    if mean is None or std is None:
        raise ValueError("mean and std belong together: give both, or none to have them found")
    given = [float(value) for value in mean], [float(value) for value in std]
    if any(len(part) not in (1, channels) for part in given) or min(given[1]) <= 0:
        raise ValueError(
            f"mean is {given[0]} and std {given[1]}; each must hold 1 or {channels} numbers, "
            "and std only numbers above 0: give those of the images' normalisation"
        )
    return given


def check_dataset(dataset: Any, channels: int, what: str = "train_dataset") -> int:
    """The number of examples of a data set that `explain` can work with; ``what`` names it.

    Raises:
        ValueError: No map-style data set, none of its examples, examples that are not
            ``(image [C, H, W], class label)``, or other images each time they are asked for.
    """
    if isinstance(dataset, IterableDataset) or not (
        hasattr(dataset, "__len__") and hasattr(dataset, "__getitem__")
    ):
        raise ValueError(
            f"{what} is a {type(dataset).__name__}; it must be a map-style data set "
            "(with len() and [index]), so that the images found can be fetched again"
        )
    count = len(dataset)
    if count == 0:
        raise ValueError(f"{what} is empty; give the data that the model was trained on")
    places = torch.linspace(0, count - 1, min(count, _FETCHED_TWICE)).long().tolist()
    for index in places:
        first, _ = example(dataset, index, what)
        again, _ = example(dataset, index, what)
        if len(first) != channels:
            raise ValueError(
                f"{what}[{index}] has {len(first)} channels and test_input {channels}; "
                "prepare both with the same transform"
            )
        if not torch.equal(first, again):
            raise ValueError(
                f"{what}[{index}] is another image each time; the image that is ranked "
                "must be the one that is mapped: use the transform for evaluation, without "
                "random crops, flips or colours"
            )
    return count


def example(dataset: Any, index: int, what: str = "train_dataset") -> tuple[Tensor, int]:
    """Example ``index`` as ``(image [C, H, W], label)``.

    Raises:
        ValueError: It is anything else.
    """
    given = dataset[index]
    pair = given if isinstance(given, tuple | list) and len(given) == 2 else (None, None)
    image, label = pair
    if not isinstance(image, Tensor) or image.dim() != 3 or not image.is_floating_point():
        raise ValueError(
            f"{what}[{index}] is {_describe(given)}; it must be a pair "
            "(image [C, H, W] of floating-point numbers, class label): add a transform to tensor"
        )
    whole = _whole_number(label)
    if whole is None:
        raise ValueError(
            f"the label of {what}[{index}] is {_describe(label)}; explain() needs one whole "
            "number, the class. For other labels use ScoreInfluence and TrainingGradCos themselves"
        )
    return image, whole


def ask(
    model: nn.Module,
    loss_fn: Callable[..., Tensor] | str | None,
    output_fn: Callable[[Any], Tensor] | None,
    test_input: Tensor,
    test_target: int | None,
    layer: nn.Module | None,
) -> Question:
    """Runs the test image through the model once, and checks image, label and layer.

    Raises:
        ValueError: An image or label that the model does not take, or a layer whose
            activation is not ``[B, C, h, w]``.
    """
    device = next(model.parameters(), torch.empty(0)).device
    image = check_image(test_input).to(device)
    shapes: list[Any] = []
    hook = None
    if layer is not None:
        hook = layer.register_forward_hook(
            lambda module, inputs, output: shapes.append(getattr(output, "shape", None))
        )
    try:
        with torch.no_grad():
            output = model(image)
    finally:
        if hook is not None:
            hook.remove()
    logits = output if output_fn is None else output_fn(output)
    if isinstance(logits, Tensor) and logits.numel() == 1:
        logits = _of_two_classes(logits, loss_fn)
    if not isinstance(logits, Tensor) or logits.dim() != 2 or len(logits) != 1:
        raise ValueError(
            f"the model gives {_describe(logits)} for one image; explain() needs logits "
            "[B, classes]: give output_fn, which takes them from the model's output"
        )
    if layer is not None and (len(shapes) != 1 or shapes[0] is None or len(shapes[0]) != 4):
        shape = None if not shapes or shapes[0] is None else list(shapes[0])
        raise ValueError(
            f"layer is called {len(shapes)} times for one image and gives the shape {shape}; "
            "it must be called once and give [B, C, h, w]: name a convolution or a block of them"
        )
    probabilities = logits[0].float().softmax(dim=0)
    best = probabilities.sort(descending=True, stable=True)
    predicted = int(best.indices[0])
    label = predicted if test_target is None else check_label(test_target, len(probabilities))
    confidence = float(probabilities[predicted])
    return Question(
        image,
        label,
        test_target is not None,
        predicted,
        confidence,
        tuple(zip(best.indices.tolist(), best.values.tolist(), strict=True))[:_ANSWERS],
        len(probabilities),
    )


def _of_two_classes(logit: Tensor, loss_fn: Callable[..., Tensor] | str | None) -> Tensor:
    """Logits ``[1, 2]`` whose softmax is the sigmoid of one logit.

    Raises:
        ValueError: The loss does not take the one number for a logit.
    """
    if not isinstance(loss_fn, nn.BCEWithLogitsLoss):
        raise ValueError(
            "the model gives one number for an image. If it tells two classes apart (labels 0 and "
            "1), give loss_fn=nn.BCEWithLogitsLoss(reduction='none'). explain() is for classes: "
            "for regression rank with ScoreInfluence(GradCosScore(model, "
            "nn.MSELoss(reduction='none')), ...) and map with TrainingGradCos, whose labels are "
            "numbers"
        )
    logit = logit.reshape(1, 1)
    return torch.cat([torch.zeros_like(logit), logit], 1)


def check_image(test_input: Any) -> Tensor:
    """The test image as ``[1, C, H, W]``.

    Raises:
        ValueError: It is no floating-point tensor ``[C, H, W]`` or ``[1, C, H, W]``, or not finite.
    """
    fits = isinstance(test_input, Tensor) and (
        test_input.dim() == 3 or (test_input.dim() == 4 and len(test_input) == 1)
    )
    if not fits or not test_input.is_floating_point():
        raise ValueError(
            f"test_input is {_describe(test_input)}; it must be one image, a floating-point "
            "tensor [C, H, W] or [1, C, H, W]: prepare it with the transform of the training set"
        )
    if not torch.isfinite(test_input).all():
        raise ValueError("test_input holds NaN or infinity; check its transform")
    image: Tensor = test_input.detach()
    return image if image.dim() == 4 else image.unsqueeze(0)


def check_label(test_target: Any, classes: int) -> int:
    """The test label as an int.

    Raises:
        ValueError: It is not a whole number in [0, classes).
    """
    if isinstance(test_target, Tensor) and test_target.numel() == 1:
        test_target = test_target.item()
    label = _index(test_target)
    if label is None:
        raise ValueError(
            f"test_target is {_describe(test_target)}; it must be a whole number, the class, "
            "or None to ask about the model's own prediction"
        )
    if not 0 <= label < classes:
        raise ValueError(f"test_target is {label}; the model's classes are 0 to {classes - 1}")
    return label


def find_layer(model: nn.Module, layer: nn.Module | str | None) -> tuple[nn.Module, str] | None:
    """The layer and its dotted name in the model, or None if none is asked for.

    Raises:
        ValueError: The model has no such layer.
    """
    if layer is None:
        return None
    names = {name: module for name, module in model.named_modules() if name}
    if isinstance(layer, str):
        if layer in names:
            return names[layer], layer
        near = difflib.get_close_matches(layer, names, n=3, cutoff=0.4) or list(names)[:3]
        raise ValueError(f"the model has no layer {layer!r}; it has {', '.join(near)}, ...")
    for name, module in names.items():
        if module is layer:
            return module, name
    raise ValueError(
        f"layer ({type(layer).__name__}) is no part of the model; "
        "give a module out of model.named_modules(), or its dotted name"
    )


def _index(value: Any) -> int | None:
    """A whole number of Python or NumPy as an int; ``None`` for anything else, also for truths."""
    try:
        return None if isinstance(value, bool) else operator.index(value)
    except TypeError:
        return None


def _whole_number(value: Any) -> int | None:
    """A Python, NumPy or tensor number as an int, or None if it is no single whole number."""
    try:
        whole = int(value)
        return whole if bool(whole == value) else None
    except (TypeError, ValueError, RuntimeError):
        return None


def _describe(value: Any) -> str:
    """A short word for a value in an error message."""
    if isinstance(value, Tensor):
        return f"a tensor {list(value.shape)} of {value.dtype}"
    if isinstance(value, tuple | list):
        return f"a {type(value).__name__} of {len(value)}"
    text = repr(value)
    return text if len(text) <= 40 else f"of type {type(value).__name__}"
