"""Which parts of the network speak, in which training images, through which pixels?

Feature × data × component: the most influential training images of a test image, what each group of
parameters contributes to their scores, and a map of each contribution.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch.utils.data import Dataset, Subset
from tqdm.auto import tqdm

from captum_tfa.influence import ScoreInfluence
from captum_tfa.metrics import mean_colour
from captum_tfa.report import arguments, dataset_facts, methods
from captum_tfa.report.mapping import Mapper, random_state_kept
from captum_tfa.scores import InfluenceByGroup, Score
from captum_tfa.scores.by_group import groups_of_score
from captum_tfa.scores.groups import Grouping

if TYPE_CHECKING:
    from matplotlib.figure import Figure

# The mean colour of so many training images stands for that of all of them.
_COLOUR_IMAGES = 500


@dataclass(frozen=True, eq=False)
class PartedExample:
    """A training image, and what each group of parameters makes of it.

    Attributes:
        index: Its place in the training set.
        label_name: Its label in words.
        image: For display, ``[C, H, W]`` in [0, 1].
        score: With the test image.
        contributions: Of each group, ``[G]``; they add up to the score without its norms.
        parts: The same over the score's norms; they add up to the score.
        map: Of the score, ``[H, W]``: the method's numbers summed over channels (``|map|`` for
            ``"gradient"``).
        maps: Of each part, ``[G, H, W]``, likewise; but for ``"gradient"`` they add up to ``map``.
    """

    index: int
    label_name: str
    image: Tensor
    score: float
    contributions: Tensor
    parts: Tensor
    map: Tensor
    maps: Tensor


@dataclass(frozen=True, eq=False)
class ExplainedParts:
    """What `explain_parts` found.

    Attributes:
        test_image: For display, ``[C, H, W]`` in [0, 1].
        label_name: What was asked about, in words.
        groups: The names of the groups of parameters, ``G``.
        examples: The most influential training images, the most influential one first.
        score_name: Which score it is.
        method: What the maps are.
    """

    test_image: Tensor
    label_name: str
    groups: tuple[str, ...]
    examples: tuple[PartedExample, ...]
    score_name: str
    method: methods.Method

    def plot(self) -> Figure:
        """A figure: for each training image a map of each group beside the bar of its part."""
        from captum_tfa.report.parts_figure import draw_parts  # matplotlib takes a while

        return draw_parts(self)


def explain_parts(
    score: Score,
    train_dataset: Dataset[Any],
    test_input: Tensor,
    test_target: int | None = None,
    by_group: Grouping = "layer",
    k: int = 3,
    *,
    proponents: bool = True,
    method: str | None = None,
    nt_samples: int = 20,
    noise_level: float = 0.1,
    batch_size: int = 64,
    internal_batch_size: int | None = None,
    seed: int = 0,
    show_progress: bool = False,
) -> ExplainedParts:
    """What each part of a network contributes to the influence of training images, with maps.

    One pass over the training set ranks it and tells the contributions of each group; then each of
    the ``k`` images is mapped once as a whole and once for each group.

    Args:
        score: Any score of a classifier.
        train_dataset: As for `explain`.
        test_input: The image to explain, ``[C, H, W]`` or ``[1, C, H, W]``.
        test_target: The class asked about. None: what the model says.
        by_group: What belongs together, as for `Score.by_parameter`: ``"layer"``, or a few stages
            of the network, which take less time and make a better picture:
            ``["layer1", "layer2", ...]``.
        k: How many training images, at least 1.
        proponents: Whether the highest scores, or the lowest.
        method: The map, as for `explain`. None: its default.
        nt_samples: As for `explain`.
        noise_level: As for `explain`.
        batch_size: Training images at once.
        internal_batch_size: As for `explain`.
        seed: As for `explain`.
        show_progress: Whether progress bars are shown.

    Raises:
        TypeError: ``score`` is none, or a ``by_group`` of the wrong kind.
        ValueError: As `explain` and `Score.by_parameter`.
    """
    if not isinstance(score, Score):
        raise TypeError(f"score is a {type(score).__name__}; give one such as GradCosScore(model).")
    arguments.check_numbers(k, nt_samples, noise_level, batch_size, 0, internal_batch_size, seed)
    way = methods.choose(method, of_layer=False)
    groups = groups_of_score(score, by_group)
    image = arguments.check_image(test_input)
    count = arguments.check_dataset(train_dataset, image.shape[1])
    asked = arguments.ask(score.model, score.loss_fn, score.output_fn, image, test_target, None)
    test = asked.image, asked.label_tensor
    statistics = dataset_facts.normalisation(train_dataset)
    known = dataset_facts.class_names(train_dataset)
    places = torch.linspace(0, count - 1, min(count, _COLOUR_IMAGES)).long().tolist()
    colour = mean_colour(Subset(train_dataset, places))
    mapper = Mapper(way, None, colour, nt_samples, noise_level, internal_batch_size, seed)

    def name(label: int) -> str:
        return known[label] if known is not None and label < len(known) else f"class {label}"

    with random_state_kept(test[0].device):
        influence = ScoreInfluence(score, train_dataset, batch_size, 0, show_progress)
        found = influence.influence(test, int(k), proponents, by_group=by_group)
        assert isinstance(found, InfluenceByGroup), "by_group was given"
        examples = []
        parts = [score.part_of(list(names)) for names in groups.values()]
        bar = tqdm(found.indices[0].tolist(), desc="mapping", disable=not show_progress)
        for place, index in enumerate(bar):
            picture, label = arguments.example(train_dataset, index)
            train = picture.to(test[0]).unsqueeze(0), torch.full_like(test[1], label)
            whole, *maps = (
                way.values(mapper(each, *train, other=test)).double() for each in (score, *parts)
            )
            examples.append(
                PartedExample(
                    index,
                    name(label),
                    dataset_facts.for_display(picture, statistics),
                    float(found.influence_scores[0, place]),
                    found.contributions[0, place],
                    found.parts[0, place],
                    whole,
                    torch.stack(maps),
                )
            )
    return ExplainedParts(
        dataset_facts.for_display(test[0][0], statistics),
        name(asked.label),
        tuple(groups),
        tuple(examples),
        score.name,
        way,
    )
