"""Which parts of the training data are behind my model's mistakes?

One mistake is an anecdote. An audit explains many with one ranking of the training set, and looks
for what their opponents share: the same training images, regions that look and lie alike, labels
that speak against the test set.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from torch import Tensor, nn
from torch.utils.data import Dataset
from tqdm.auto import tqdm

from captum_tfa.auditing import collecting, suspects
from captum_tfa.auditing.checks import (
    check_method,
    check_numbers,
    check_test_set,
    refuse_other_score,
)
from captum_tfa.auditing.clustering import part_of_sklearn
from captum_tfa.auditing.control import DRAWS, chance_control
from captum_tfa.auditing.evidence import Evidence
from captum_tfa.auditing.fingerprint import fingerprint
from captum_tfa.auditing.mistakes import Answers, answers_of
from captum_tfa.auditing.opponents import pairs_of, rank
from captum_tfa.auditing.progress import Progress
from captum_tfa.auditing.regions import Regions, find_regions
from captum_tfa.auditing.result import Audit, mistakes_of
from captum_tfa.auditing.suspected_labels import suspected_labels, suspicion_of
from captum_tfa.curvature import load_curvature
from captum_tfa.index import GradientIndex
from captum_tfa.report import arguments, dataset_facts, methods, shared
from captum_tfa.report.explanation import Setting
from captum_tfa.report.mapping import Mapper, random_state_kept
from captum_tfa.scores import GradDotScore, InfluenceScore, Score, validate

_SAMPLE = 256
"""So many test images, right or wrong, are asked about labels."""


def audit(
    model: nn.Module,
    train_dataset: Dataset[Any],
    test_dataset: Dataset[Any],
    *,
    folder: str | os.PathLike[str] | None = None,
    score: Score | str | None = None,
    index: arguments.Indices | None = None,
    method: str | None = None,
    max_mistakes: int | None = 100,
    k: int = 10,
    controls: int = DRAWS,
    nt_samples: int = 50,
    noise_level: float = 0.1,
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
) -> Audit:
    """What the mistakes of a model on a labelled test set have in common in the training data.

    The model answers the test set. Of its mistakes, or the surest of them, the training images
    that speak most against the right class are found by one ranking for all (in as many passes as
    their gradients need to fit into 4 GiB), and mapped. The maps are searched for regions that come
    up again and again, which is compared with a control by chance. Results are kept as they come if
    a folder is named, and an audit that was stopped goes on from there. PyTorch's global random
    state, the model and its hooks are left as they were.

    Args:
        model: A classifier, as for `explain`.
        train_dataset: As for `explain`.
        test_dataset: Yields ``(image [C, H, W], class label)``, prepared like the training images;
            always the same image for an index.
        folder: Where results are kept as they come: new, empty, or of an audit with the same
            settings that was stopped. None (default) keeps nothing.
        score: What ranks and is mapped, as for `explain`. None (default): "influence".
        index: As for `explain`: the ranking takes a moment, and the scores of opponents are exact
            all the same; suspected labels go by its estimates.
        method: What a map is: one of the names that `explain` takes. None (default): "occlusion".
        max_mistakes: So many mistakes are explained, those of which the model is surest, at least
            1. None: all. Default 100.
        k: Most opponents of a mistake, at least 1. Default 10.
        controls: How often the search for regions is repeated with what chance gives, at least 1.
            Default 19: chance alone is stronger than all of these in one of 20 audits, and strong
            enough to stand out in one of 1,000 (by Gumbel's law through them).
        nt_samples: As for `explain`.
        noise_level: As for `explain`.
        loss_fn: As for `explain`.
        output_fn: As for `explain`.
        parameters: As for `explain`.
        batch_size: Images at once, as for `explain`.
        num_workers: Processes that load images. Default 0: this one.
        internal_batch_size: As for `explain`.
        seed: Seed of the noise, of the control and of the clustering, from 0 to 2^63 - 1.
        class_names: As for `explain`.
        mean: As for `explain`.
        std: As for `explain`.
        show_progress: Show a progress bar for each stage.

    Returns:
        An `Audit`: ``.report(path)`` writes it as a page, ``.to_csv(path)`` the suspects.

    Raises:
        ImportError: scikit-learn, which searches for regions, is not installed.
        ValueError: An argument out of its range, a data set or a model that cannot be used, or a
            folder of an audit with other settings; raised before the long work, with what to do.
        OSError: The folder holds something else, or cannot be written.
    """
    began = time.perf_counter()
    part_of_sklearn("cluster")  # is told before the work, not after it
    check_numbers(max_mistakes, controls, seed)
    arguments.check_numbers(
        k, nt_samples, noise_level, batch_size, num_workers, internal_batch_size, seed
    )
    check_method(method)
    drawn_by = methods.choose(method, of_layer=False)
    chosen = arguments.choose_score(score, model, loss_fn, output_fn, parameters)
    validate(model)
    tested, image = check_test_set(test_dataset)
    given = arguments.check_statistics(mean, std, len(image))
    count = arguments.check_dataset(train_dataset, len(image))
    opened = None
    if index is not None:  # a score that has yet to be fitted is of the same gradients as this one
        of_index = chosen or GradDotScore(model, loss_fn, output_fn, parameters)
        opened = arguments.open_index(index, train_dataset, of_index)
    if chosen is not None:
        loss_fn, output_fn = chosen.loss_fn, chosen.output_fn
    classes = arguments.ask(model, loss_fn, output_fn, image, None, None).classes
    known = shared.names_for(class_names, train_dataset, classes)
    batch_size = batch_size or shared.batch_size_for(image.unsqueeze(0))
    statistics = given or dataset_facts.normalisation(train_dataset)
    names = {label: shared.name_of(known, label) for label in range(classes)}
    asked_for: dict[str, Setting] = {
        "score": chosen.name if chosen else arguments.WITH_CURVATURE,
        "curvature": arguments.curvature_words(chosen) if chosen else None,
        "method": drawn_by.name,
        "index": None if opened is None else _index_words(opened),
        "max_mistakes": max_mistakes,
        "k": int(k),
        "nt_samples": int(nt_samples),
        "noise_level": noise_level,
        "seed": int(seed),
    }
    progress = Progress(
        folder,
        fingerprint(
            asked_for, model, train_dataset, test_dataset, loss_fn, output_fn, parameters, chosen
        ),
    )
    answers = Answers(
        **progress.result(
            "answers",
            lambda: vars(
                answers_of(
                    model, test_dataset, classes, output_fn, batch_size, num_workers, show_progress
                )
            ),
        )
    )
    trained = Answers(
        **progress.result(
            "training answers",
            lambda: vars(
                answers_of(
                    model,
                    train_dataset,
                    classes,
                    output_fn,
                    batch_size,
                    num_workers,
                    show_progress,
                    "train_dataset",
                )
            ),
        )
    )
    train_labels = trained.labels
    wrong = answers.mistakes(max_mistakes)
    device = next(model.parameters()).device
    with random_state_kept(device):
        asked_with = chosen or _fitted(
            folder, model, train_dataset, loss_fn, output_fn, parameters, show_progress
        )
        ranked = rank(
            asked_with, opened or train_dataset, train_labels, test_dataset, wrong,
            answers.sample(_SAMPLE), k, progress, batch_size, num_workers, show_progress,
        )  # fmt: skip
        if progress.found:
            refuse_other_score(asked_with, train_dataset, test_dataset, wrong, ranked)
        size = collecting.size_of_maps(image, len(wrong) * k)
        pictures = collecting.ShownPictures(train_dataset, statistics, size)
        colour = shared.typical_colour(train_dataset, count)
        mapper = Mapper(drawn_by, None, colour, nt_samples, noise_level, internal_batch_size, seed)
        evidence, shown = collecting.collect(
            asked_with, mapper, pictures, test_dataset, wrong, ranked, progress, show_progress
        )
    regions = _regions(evidence, pictures, train_labels, controls, seed, show_progress)

    labels = [int(answers.labels[place]) for place in wrong.tolist()]
    said = [int(answers.predicted[place]) for place in wrong.tolist()]
    pairs = pairs_of(labels, said, ranked, train_labels)
    suspected = suspected_labels(ranked.tally, trained)
    image_size = int(image.shape[1]), int(image.shape[2])
    found = suspects.suspects_of(regions, evidence, image_size, suspected, pairs, names)
    named = {each.index for each in found} | set(ranked.indices.flatten().tolist())
    settings: dict[str, Setting] = {
        **asked_for,
        "curvature": arguments.curvature_words(asked_with),
        "map": drawn_by.formula,
        "model": type(model).__name__,
        "loss": shared.loss_words(asked_with.loss_fn),
        "training_examples": count,
        "test_examples": tested,
        "controls": int(controls),
        "batch_size": batch_size,
        "device": device.type,
    }
    return Audit(
        mistakes=mistakes_of(
            wrong,
            answers.labels,
            answers.predicted,
            answers.confidence,
            ranked,
            shown,
            {place: dataset_facts.file_of(test_dataset, place) for place in wrong.tolist()},
        ),
        pairs=pairs,
        regions=regions,
        suspected_labels=suspected,
        suspicion=suspicion_of(ranked.tally, trained.losses),
        suspects=found,
        evidence=evidence,
        all_mistakes=int((answers.predicted != answers.labels).sum()),
        tested=tested,
        class_names=names,
        train_labels={place: int(train_labels[place]) for place in named},
        pictures={each.index: pictures[each.index] for each in suspected},
        train_files={place: dataset_facts.file_of(train_dataset, place) for place in named},
        image_size=image_size,
        method=drawn_by,
        settings=settings,
        versions=shared.versions(),
        made=datetime.now(timezone.utc).isoformat(timespec="seconds"),
        seconds=time.perf_counter() - began,
    )


def curvature_file(folder: str | os.PathLike[str]) -> Path:
    """Where an audit that keeps its results in a folder keeps its curvature, if it fits one."""
    return Path(folder).expanduser() / "curvature" / "fit.safetensors"


def _index_words(opened: Sequence[GradientIndex]) -> str:
    seeds = ", ".join(str(each.settings.seed) for each in opened)
    return f"{arguments.index_words(opened)}, seed {seeds}"


def _fitted(
    folder: str | os.PathLike[str] | None,
    model: nn.Module,
    train_dataset: Dataset[Any],
    loss_fn: Callable[..., Tensor] | str | None,
    output_fn: Callable[[Any], Tensor] | None,
    parameters: Any,
    show_progress: bool,
) -> Score:
    """The cosine with curvature; the curvature is kept in the folder, or comes from there."""
    file = None if folder is None else curvature_file(folder)
    if file is not None and file.is_file():
        return InfluenceScore(model, load_curvature(file, model), "cos", loss_fn, output_fn)
    made = arguments.with_curvature(
        model, train_dataset, loss_fn, output_fn, parameters, show_progress
    )
    if file is not None:
        file.parent.mkdir(exist_ok=True)
        made.curvature.save(file)  # type: ignore[attr-defined]
    return made


def _regions(
    evidence: Evidence | None,
    pictures: collecting.ShownPictures,
    labels: Tensor,
    controls: int,
    seed: int,
    show_progress: bool,
) -> Regions | None:
    """The search for regions, with its control."""
    if evidence is None:
        return None
    drawn = chance_control(evidence, pictures, labels, controls, seed)
    with tqdm(total=1, desc="clustering", disable=not show_progress) as bar:
        found = find_regions(evidence, _told(drawn, controls, show_progress), seed=seed)
        bar.update()
    return found


def _told(drawn: Iterable[Evidence], count: int, show_progress: bool) -> Iterator[Evidence]:
    yield from tqdm(drawn, "control", count, unit="draw", leave=False, disable=not show_progress)
