# %% [markdown]
# # Covering what the map names, and training anew
#
# A map says: this region of that training picture made the network say so. If that is right, a
# network trained with these regions covered must say it less. That is what reviewers of the method
# asked for, and what only retraining can answer.
#
# For each test picture: its top 1, 10, 50 and 200 proponents by grad-cos; in each of them the
# quarter of the picture that the map names is covered with the mean colour; a network is trained,
# and the margin of the class that was asked about is compared with that of a network trained on
# the unchanged pictures with the same seed. The controls cover as much of the same pictures:
#
# - at random; in the middle; where attribution of the picture's own label (by the same method,
#   occlusion) points, which never sees the test picture;
# - the patch itself, where one was planted: the most that covering can do;
# - and the whole pictures are removed.
#
# Cases: shapes with a planted patch and CIFAR-10 with a planted patch, where the test picture is
# another class with the patch put in, called by the wrong name; and CIFAR-10 as it is. Each is
# trained from scratch, and a few epochs more from the last checkpoint.

# %%
from pathlib import Path
from typing import NamedTuple

import matplotlib.pyplot as plt
import torch
from torch import nn
from torch.utils.data import TensorDataset

from captum_tfa import GradCosScore, ScoreInfluence, TrainingOcclusion
from captum_tfa.demo import SmallCNN, make_shapes, train_classifier
from captum_tfa.demo.shapes import CLASSES, SHORTCUT_CLASS
from captum_tfa.metrics import MeasuredOutput, counterfactual_regions, mean_colour
from captum_tfa.metrics.controls import centre_weighted, own_label_occlusion, random_saliency
from captum_tfa.metrics.counterfactual_regions import WHOLE, read_counterfactual_regions
from captum_tfa.metrics.shortcuts import corner_square, paint_region, some_of_class
from common.data import cifar10, subset_of_classes
from common.record import Record
from common.settings import settings
from common.training import train_in_half

run = settings(
    data="cifar10",
    out="results",
    cache="tutorials-cache",
    cases=("shapes with a patch", "CIFAR-10 with a patch", "CIFAR-10"),
    starts=("scratch", "checkpoint"),
    per_class=250,  # training pictures
    side=16,  # of a picture in pixels; CIFAR-10's are averaged down to it
    epochs=6,
    more_epochs=2,  # from the checkpoint
    queries=4,
    tops=(1, 10, 50, 200),
    fraction=0.25,  # of a picture that is covered
    seeds=(0,),
    patched=0.8,  # part of the class that carries the patch
    train=True,  # --no-train makes the page from what was measured before
)
CIFAR_CLASSES = ("dog", "ship", "automobile")
MAGENTA = torch.tensor([1.0, 0.1, 0.8])

# %% [markdown]
# ## The cases


# %%
class Case(NamedTuple):
    """What is trained on, and what is asked: queries with the class that they are asked about."""

    train: TensorDataset
    candidates: torch.Tensor  # test pictures to choose queries from
    asked: torch.Tensor  # the class asked about, for each
    classes: int
    patch: torch.Tensor | None  # its region [H, W]


def normalised(images: torch.Tensor) -> torch.Tensor:
    return (images - 0.5) / 0.25


def shapes_case() -> Case:
    train, test = make_shapes(
        run.per_class, 50, run.side, run.side // 4, shortcut_rate=run.patched, seed=0
    )
    target = CLASSES.index(SHORTCUT_CLASS)
    images = test.with_patch().images[test.labels != target]
    data = TensorDataset(normalised(train.images), train.labels)
    asked = torch.full((len(images),), target)
    return Case(data, normalised(images), asked, len(CLASSES), train.patch_region)


def cifar_case(patch: bool) -> Case:
    sides = []
    for train, per_class in ((True, run.per_class), (False, 100)):
        whole = subset_of_classes(cifar10(run.data, train, run.cache), CIFAR_CLASSES)
        rows = torch.cat([(whole.labels == c).nonzero().flatten()[:per_class] for c in range(3)])
        images = whole.images[rows].float() / 255
        images = nn.functional.adaptive_avg_pool2d(images, run.side)
        sides.append((images, whole.labels[rows]))
    (images, labels), (tests, test_labels) = sides
    if not patch:
        return Case(
            TensorDataset(normalised(images), labels), normalised(tests), test_labels, 3, None
        )
    region = corner_square(run.side, run.side, run.side // 4)
    which = some_of_class(labels, 0, run.patched)
    images = paint_region(images, which, region, MAGENTA)
    ships = tests[test_labels == 1]
    ships = paint_region(ships, torch.ones(len(ships), dtype=torch.bool), region, MAGENTA)
    data = TensorDataset(normalised(images), labels)
    return Case(data, normalised(ships), torch.zeros(len(ships), dtype=torch.long), 3, region)


CASES = {
    "shapes with a patch": shapes_case,
    "CIFAR-10 with a patch": lambda: cifar_case(patch=True),
    "CIFAR-10": lambda: cifar_case(patch=False),
}

# %% [markdown]
# ## Training, and the maps


# %%
def in_memory(dataset) -> TensorDataset:
    rows = [dataset[index] for index in range(len(dataset))]
    return TensorDataset(
        torch.stack([image for image, _ in rows]), torch.tensor([int(label) for _, label in rows])
    )


def trained(dataset, seed: int, classes: int) -> nn.Module:
    return train_in_half(SmallCNN(classes), in_memory(dataset), run.epochs, seed)


def chosen(case: Case, model: nn.Module) -> tuple[torch.Tensor, torch.Tensor]:
    """Queries of which the network says what is asked about, evenly from among them."""
    with torch.no_grad():
        said = (model(case.candidates).argmax(1) == case.asked).nonzero().flatten()
    if len(said) < run.queries:
        raise SystemExit(f"the network says so of {len(said)} pictures only; train it longer")
    rows = said[torch.linspace(0, len(said) - 1, run.queries).long()]
    return case.candidates[rows], case.asked[rows]


def saliencies(
    case: Case, model: nn.Module, queries: torch.Tensor, asked: torch.Tensor, images: torch.Tensor
) -> dict[str, torch.Tensor]:
    """Whom to cover where: ``[Q, n, H, W]`` by name."""
    x, y = case.train.tensors
    start = mean_colour(x).view(1, -1, 1, 1).expand_as(x[:1])
    method = TrainingOcclusion(GradCosScore(model))
    found: dict[str, list[torch.Tensor]] = {}
    for query, rows in enumerate(images):
        here = slice(query, query + 1)
        parts = {
            "map": method.attribute(x[rows], start, y[rows], (queries[here], asked[here]))[:, 0],
            "own label": own_label_occlusion(model, x[rows], y[rows], start),
            "random": random_saliency(x[rows], seed=query),
            "middle": centre_weighted(x[rows]),
        }
        if case.patch is not None:
            parts["patch"] = case.patch.float().expand(len(rows), -1, -1)
        for name, values in parts.items():
            found.setdefault(name, []).append(values)
    return {name: torch.stack(values) for name, values in found.items()}


# %% [markdown]
# ## All cases
#
# What each network says is kept as it comes.


# %%
def folder(name: str, start: str) -> Path:
    return Path(run.cache) / "counterfactual_regions" / f"{name}, {start}".replace(" ", "-")


about: dict[str, dict[str, float]] = {}
for name in run.cases:
    case = CASES[name]()
    torch.manual_seed(100)
    model = trained(case.train, 100, case.classes)
    queries, asked = chosen(case, model)
    influence = ScoreInfluence(GradCosScore(model), case.train, batch_size=250)
    images = influence.influence((queries, asked), k=run.tops[-1]).indices
    about[name] = {
        "same class": float((case.train.tensors[1][images] == asked[:, None]).float().mean())
    }
    if case.patch is not None:
        x = case.train.tensors[0]
        corner = x[:, :, case.patch].mean(2)
        magenta = normalised(MAGENTA)
        carries = (corner - magenta).abs().amax(1) < 1e-3
        about[name]["patched"] = float(carries[images].float().mean())
        about[name]["all patched"] = int(carries.sum())
    if not run.train:
        continue
    maps = saliencies(case, model, queries, asked, images)
    state = {key: value.clone() for key, value in model.state_dict().items()}

    def from_scratch(dataset, seed, classes=case.classes):
        return trained(dataset, seed, classes)

    def go_on(dataset, seed, classes=case.classes, state=state):
        network = SmallCNN(classes)
        network.load_state_dict(state)
        return train_classifier(
            network, in_memory(dataset), run.more_epochs, learning_rate=1e-3, seed=seed
        )

    for start in run.starts:
        counterfactual_regions(
            from_scratch if start == "scratch" else go_on,
            case.train,
            images,
            maps,
            mean_colour(case.train.tensors[0]),
            MeasuredOutput(queries, asked, "margin"),
            folder(name, start),
            tops=run.tops,
            fraction=run.fraction,
            block=run.side // 8,
            seeds=run.seeds,
            settings={
                "case": name,
                "epochs": run.epochs if start == "scratch" else run.more_epochs,
                "pictures": len(case.train),
            },
            start=None if start == "scratch" else model,
            show_progress=True,
        )
        print(f"{name}, {start}: done", flush=True)

# %% [markdown]
# ## What came out

# %%
record = Record("Counterfactual regions", run.out, run)
record.say(
    f"{run.per_class} training pictures of each class, {run.side} x {run.side} pixels, a small "
    f"CNN; {run.queries} test pictures a case, {len(run.seeds)} seed(s). Numbers: the change of "
    "the margin of the class asked about against training on the unchanged pictures; below 0 the "
    "network says it less. Means over test pictures with their 95 % normal intervals, which "
    "so few test pictures make too narrow."
)
PLAIN = ("map", "own label", "random", "middle")
figure, axes = plt.subplots(
    len(run.starts),
    len(run.cases),
    figsize=(3.6 * len(run.cases), 3.1 * len(run.starts)),
    layout="constrained",
    squeeze=False,
)
for column, name in enumerate(run.cases):
    record.say(f"## {name}")
    facts = about[name]
    told = (
        f"Of the top {run.tops[-1]} proponents {facts['same class']:.0%} bear the class asked about"
    )
    if "patched" in facts:
        told += f", {facts['patched']:.0%} carry the patch ({facts['all patched']} pictures do)"
    record.say(told + ".")
    for row, start in enumerate(run.starts):
        found = read_counterfactual_regions(folder(name, start))
        order = [c for c in (*PLAIN, "patch", WHOLE) if c in found.choosers]
        before = float(found.unchanged.nanmean())
        epochs = run.epochs if start == "scratch" else run.more_epochs
        record.say(
            f"**From {'scratch' if start == 'scratch' else 'the last checkpoint'}**, "
            f"{epochs} epochs. Margin without any change: {before:.3g}."
        )
        record.table(
            ("covered", *(f"top {top}" for top in found.tops)),
            [(c, *(found.effect(c, top) for top in found.tops)) for c in order],
        )
        record.say("The map against each control, paired over test pictures (below 0: the map):")
        record.table(
            ("control", *(f"top {top}" for top in found.tops)),
            [(c, *(found.gap("map", c, top) for top in found.tops)) for c in order if c != "map"],
        )
        axis = axes[row][column]
        for chooser in order:
            means = [found.effect(chooser, top).mean for top in found.tops]
            style = "--" if chooser in ("patch", WHOLE) else "-"
            axis.plot(range(len(means)), means, style, marker="o", markersize=3, label=chooser)
        axis.axhline(0, color="grey", linewidth=0.5)
        axis.set_xticks(range(len(found.tops)), [str(top) for top in found.tops])
        axis.set_title(
            f"{name}, from {'scratch' if start == 'scratch' else 'checkpoint'}", fontsize=8
        )
        axis.set_xlabel("proponents changed", fontsize=8)
        axis.set_ylabel("change of the margin", fontsize=8)
axes[0][0].legend(fontsize=6)
record.figure(
    figure, "effects", "Change of the margin by what was covered, means over test pictures."
)
record.save()
