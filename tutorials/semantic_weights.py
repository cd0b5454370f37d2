# %% [markdown]
# # Semantic weights: do queries that share something teach a score to look for it?
#
# li2026learning learn a weight for each part of a network from rankings alone, and find that
# queries that share one attribute give weights for that attribute: more of the first ten training
# images then share it. Here the attributes are known:
#
# - **class**: queries of one class;
# - **cue**: queries with a small coloured patch, whatever their class;
# - **tint**: queries whose picture is reddish, whatever their class.
#
# Patch and tint are in a part of the training images of every class, independently, so they teach
# the network no label. Each set of queries is cut in two: weights are learned from one half, and
# recall is measured on the other.

# %%
from functools import partial
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils.data import TensorDataset

from captum_tfa import GradCosScore, ParameterWeights, ScoreInfluence, draw_weights
from captum_tfa.demo import SmallCNN, predict, train_classifier
from captum_tfa.influence.learning_weights import best_weights, of_one_size
from captum_tfa.scores.groups import groups_of
from common.data import CIFAR10_MEAN, CIFAR10_STD, cifar10, subset_of_classes
from common.record import Record, interval
from common.remembering import remembered
from common.settings import settings

run = settings(
    data="cifar10",
    out="results",
    cache="tutorials-cache",
    classes=("dog", "ship", "automobile"),
    per_class=300,
    queries=40,  # of each attribute; half of them to learn from
    side=16,  # of the pictures, in pixels
    share=0.15,  # of the training images with the cue, and with the tint
    epochs=8,
    k=10,
    regularisation=0.01,
    steps=300,
    seeds=3,
)
record = Record("Semantic weights", run.out, run)
ATTRIBUTES = ("class", "cue", "tint")

# %% [markdown]
# ## Pictures


# %%
def pictures(train: bool) -> tuple[Tensor, Tensor]:
    """Small pictures in [0, 1], ``[N, 3, side, side]``, and their labels."""
    found = subset_of_classes(cifar10(run.data, train, run.cache), run.classes)
    small = F.interpolate(found.images.float() / 255, size=(run.side, run.side), mode="area")
    return small, found.labels


def with_cue(images: Tensor, draw: torch.Generator) -> Tensor:
    """The pictures with a turquoise patch at a random place, a quarter of their side wide."""
    images, wide = images.clone(), run.side // 4
    colour = torch.tensor([0.0, 1.0, 0.8]).view(3, 1, 1)
    for image in images:
        top, left = torch.randint(run.side - wide + 1, (2,), generator=draw).tolist()
        image[:, top : top + wide, left : left + wide] = colour
    return images


def with_tint(images: Tensor) -> Tensor:
    """The pictures seen through red glass."""
    return images * torch.tensor([1.0, 0.55, 0.55]).view(1, 3, 1, 1)


def normalised(images: Tensor) -> Tensor:
    """As the network sees them."""
    mean, std = (torch.tensor(part).view(1, 3, 1, 1) for part in (CIFAR10_MEAN, CIFAR10_STD))
    return (images - mean) / std


# %% [markdown]
# ## One run
#
# Contributions of every layer to every score of a query with a training image are computed once.
# What is learned and what is measured is made of them: a weighted score is their weighted sum.


# %%
def measured(seed: int) -> dict[str, Any]:
    """Recall of each attribute under each set of weights, and the weights themselves."""
    draw = torch.Generator().manual_seed(seed)
    images, labels = pictures(train=True)
    some = torch.cat(
        [
            (labels == label).nonzero().flatten()[torch.randperm(
                int((labels == label).sum()), generator=draw
            )][: run.per_class]
            for label in range(len(run.classes))
        ]
    )  # fmt: skip
    images, labels = images[some], labels[some]
    has = {name: torch.rand(len(labels), generator=draw) < run.share for name in ("cue", "tint")}
    images[has["tint"]] = with_tint(images[has["tint"]])
    images[has["cue"]] = with_cue(images[has["cue"]], draw)
    train = TensorDataset(normalised(images), labels)
    torch.manual_seed(seed)
    model = train_classifier(SmallCNN(len(run.classes)), train, run.epochs, seed=seed)

    others, asked = pictures(train=False)
    order = torch.randperm(len(asked), generator=draw)
    of_first = order[asked[order] == 0][: run.queries]
    rest = order[~torch.isin(order, of_first)][: 2 * run.queries]
    places = {"class": of_first, "cue": rest[: run.queries], "tint": rest[run.queries :]}
    seen = {
        "class": others[places["class"]],
        "cue": with_cue(others[places["cue"]], draw),
        "tint": with_tint(others[places["tint"]]),
    }
    inputs = normalised(torch.cat([seen[name] for name in ATTRIBUTES]))
    targets = torch.cat([asked[places[name]] for name in ATTRIBUTES])
    probabilities, _ = predict(model, TensorDataset(inputs, targets))
    right = float((probabilities.argmax(1) == targets).double().mean())

    influence = ScoreInfluence(GradCosScore(model), train)
    found = influence.influence((inputs, targets), by_group="layer")
    shares = {"class": labels == 0, **has}
    scores = {"grad-cos": found.parts, "grad-dot": found.contributions}
    results: dict[str, Any] = {"accuracy": right, "groups": list(found.groups)}
    results["chance"] = {name: float(share.double().mean()) for name, share in shares.items()}
    for score, parts in scores.items():
        by_attribute = dict(zip(ATTRIBUTES, parts.split(run.queries), strict=True))
        half = run.queries // 2
        weights = {"equal": torch.full((parts.shape[2],), 1 / parts.shape[2])}
        for name, own in by_attribute.items():
            weights[name], _, _ = best_weights(
                of_one_size(own[:half]), run.k, run.regularisation, run.steps, 0.05
            )
        results[score] = {
            "weights": {name: each.tolist() for name, each in weights.items()},
            "recall": {
                learned: {
                    name: recall(own[half:] @ each, shares[name])
                    for name, own in by_attribute.items()
                }
                for learned, each in weights.items()
            },
        }
    return results


def recall(scores: Tensor, share: Tensor) -> float:
    """The part of the ``k`` highest scores that share an attribute, the mean over queries."""
    return float(share[scores.topk(run.k, 1).indices].double().mean())


asked = {name: value for name, value in vars(run).items() if name not in ("out", "cache", "seeds")}
results = []
for seed in range(run.seeds):
    path = Path(run.cache) / f"semantic_weights-{seed}.json"
    results.append(remembered(path, {**asked, "seed": seed}, partial(measured, seed)))
    print("seed", seed, results[-1], flush=True)

# %% [markdown]
# ## What came out

# %%
record.say("## What was measured")
accuracies = [result["accuracy"] for result in results]
record.say(
    f"{run.per_class * len(run.classes)} training images of {', '.join(run.classes)}, {run.side} "
    f"pixels wide; {run.queries // 2} queries of each attribute to learn from, as many others to "
    f"measure on; {run.seeds} networks, right on {min(accuracies):.0%} to {max(accuracies):.0%} of "
    f"the queries. Numbers are means over networks with their 95 % normal intervals, which so few "
    f"make too narrow."
)
SCORES = ("grad-cos", "grad-dot")
for score in SCORES:
    record.say(f"### {score}")
    record.say(f"Recall at {run.k} of each attribute, under weights learned from each:")
    rows = []
    for learned in ("equal", *ATTRIBUTES):
        row: list[object] = [learned]
        for name in ATTRIBUTES:
            values = [result[score]["recall"][learned][name] for result in results]
            row.append(interval(values) if len(values) > 1 else values[0])
        rows.append(row)
    chances = [[result["chance"][name] for result in results] for name in ATTRIBUTES]
    rows.append(["by chance", *(sum(values) / len(values) for values in chances)])
    record.table(["weights learned from", *ATTRIBUTES], rows)
    gains = []
    for name in ATTRIBUTES:
        table = [result[score]["recall"] for result in results]
        gained = [each[name][name] - each["equal"][name] for each in table]
        strangers = [other for other in ATTRIBUTES if other != name]
        above = [
            each[name][name] - sum(each[other][name] for other in strangers) / 2 for each in table
        ]
        gains.append(
            [
                name,
                *(interval(each) if len(each) > 1 else each[0] for each in (gained, above)),
            ]
        )
    record.say("The gain, paired over networks:")
    record.table(["attribute", "own weights less equal", "own less the others' weights"], gains)

# %% [markdown]
# Does each attribute get weights of its own? If so, weights of one attribute are more alike from
# network to network than weights of two attributes in one network.


# %%
def alike(one: list[float], other: list[float]) -> float:
    """Half the sum of absolute differences of two sets of weights; 0 if equal, 1 if disjoint."""
    return sum(abs(a - b) for a, b in zip(one, other, strict=True)) / 2


for score in SCORES:
    weights = [result[score]["weights"] for result in results]
    between = [
        alike(each[one], each[other])
        for each in weights
        for place, one in enumerate(ATTRIBUTES)
        for other in ATTRIBUTES[place + 1 :]
    ]
    within = [
        alike(weights[first][name], weights[second][name])
        for name in ATTRIBUTES
        for first in range(len(weights))
        for second in range(first + 1, len(weights))
    ]
    record.say(
        f"{score}: weights of two attributes in one network differ by "
        f"{sum(between) / len(between):.2f} (half the sum of absolute differences)"
        + (
            f", those of one attribute in two networks by {sum(within) / len(within):.2f}."
            if within
            else "."
        )
    )

groups = groups_of(SmallCNN(len(run.classes)), None, "layer")
drawn = {
    name: ParameterWeights(
        groups,
        tuple(
            sum(result["grad-cos"]["weights"][name][place] for result in results) / len(results)
            for place in range(len(groups))
        ),
    )
    for name in ATTRIBUTES
}
record.figure(
    draw_weights(drawn), "weights", "Weights of each layer for grad-cos, the mean over networks."
)
record.save()
