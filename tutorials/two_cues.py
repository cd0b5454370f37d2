# %% [markdown]
# # Two cues: does a map know for which test image it was made?
#
# Two planted cues A and B teach the network one class, each in half of its training images. A test
# image of another class gets A, its twin gets B, and is called that class. Which training images,
# and which part of an image that carries *both* cues, are behind that? Here the answer is known
# (own test; `captum_tfa.metrics.two_cues`):
#
# - **ranking**: does the score put the images that carry the asked cue first? AUC, 0.5 by chance.
# - **own share**: the asked cue's part of a map's mass in both cues; 0.5 for every map that does
#   not see the test image, such as attribution of the training image's own label.
# - **moves right**: how often the map moves to the asked cue when the question changes.
# - **mass**: the part of the whole map in the asked cue, against its area.
# - **removal**: what the score itself loses when a cue is taken away and the pixels that were there
#   before it come back. No map can be more right than its score.

# %%
import math
import time
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from captum_tfa import GradCosScore, InfluenceScore, ScoreInfluence
from captum_tfa.curvature import fit_curvature
from captum_tfa.curvature.fisher import MOST_BYTES
from captum_tfa.demo import SmallCNN
from captum_tfa.gradients import StoredGradients
from captum_tfa.metrics import cue_auc, read_cues
from captum_tfa.metrics.intervals import Interval
from captum_tfa.metrics.masking import mean_colour
from captum_tfa.scores import InnerProduct, Score
from common import dual_xda
from common.cue_maps import (
    ALIKE,
    MAIN,
    PAPER,
    TAUGHT,
    Drawing,
    FeatureSimilarity,
    maps_of,
    of_own_label,
    scores_of,
    told_apart,
)
from common.cue_setups import Planted, Setup, plant, smooth_net, squares, textures
from common.data import cifar10, photographs, subset_of_classes
from common.networks import pretrained
from common.record import Record, interval
from common.remembering import remembered
from common.settings import settings
from common.small_architectures import small_network

run = settings(
    data="cifar10",
    photographs="",  # a folder with train/ and val/: adds the fourth set-up
    out="results",
    cache="tutorials-cache",
    classes=("dog", "ship", "automobile"),  # the cues teach the first
    per_class=1200,
    epochs=6,
    tests=6,  # pairs of twins that are asked
    ranked=200,  # training images of the taught class that are ranked
    mapped=6,  # training images with both cues
    samples=10,  # noisy copies, or points on a path
    fitted=2000,  # training images to which a curvature is fitted
    gradients=(200, 1500),  # of which the Fisher matrix is made
    seeds=3,
    setups=("colours", "textures", "tints", "photographs"),  # what to run, by the first word
    side=5,  # of the cues, in pixels
    tints_seeds=3,
    photograph_seeds=1,
    photograph_side=64,
    photograph_epochs=6,
    photograph_ranked=60,
    photograph_mapped=2,
    photograph_network="efficientnet_lite0",
)
record = Record("Two cues", run.out, run)

# %% [markdown]
# ## Set-ups
#
# Squares of one colour for a network with BatchNorm and ReLU; textures for one with GroupNorm and
# SiLU; tinted blocks, through which the picture is seen, for a small vision transformer; and, if
# there are any, photographs with squares for a fine-tuned EfficientNet-Lite0.


# %%
def all_setups() -> dict[str, Setup]:
    """The set-ups by name."""
    train, test = (
        subset_of_classes(cifar10(run.data, part, run.cache), run.classes) for part in (True, False)
    )
    on = train, test, run.epochs, 4e-3, 64, run.ranked, run.mapped, run.fitted, True
    found = {
        "colours, BatchNorm": Setup(squares(run.side), 1.0, SmallCNN, *on),
        "textures, GroupNorm": Setup(textures(run.side), 1.0, smooth_net, *on),
        "tints, vision transformer": Setup(
            squares(2 * run.side),
            0.5,
            partial(small_network, "vit_8"),
            train,
            test,
            2 * run.epochs,
            1e-3,
            64,
            run.ranked // 2,  # it is slow to differentiate
            2 * run.mapped // 3,
            run.fitted // 2,
            False,
        ),
    }
    if run.photographs:
        side = run.photograph_side
        found["photographs, EfficientNet-Lite0"] = Setup(
            squares(side // 6),
            1.0,
            partial(pretrained, run.photograph_network),
            photographs(run.photographs, "train", side),
            photographs(run.photographs, "val", side),
            run.photograph_epochs,
            3e-4,
            16,
            run.photograph_ranked,
            run.photograph_mapped,
            run.fitted,
            False,
        )
    return {name: setup for name, setup in found.items() if name.split(",")[0] in run.setups}


# %% [markdown]
# ## One run
#
# A network is trained on the planted pictures. Test images are those that it calls the taught class
# with either cue. What is true is found by training anew without the images that carry the asked
# cue, and without those that carry the other: how much of the taught class's logit, above the
# others, is lost?


# %%
def measured(setup: Setup, seed: int) -> dict[str, Any]:
    """All that one run says: what is true, rankings, maps."""
    began = time.monotonic()
    pictures = plant(setup, run.per_class, seed)
    model = setup.trained(pictures.train, seed)
    asked, fooled = pictures.asked(model, run.tests)
    found: dict[str, Any] = {"fooled": fooled, "asked": len(asked)}
    if not asked:
        return found
    seen = [torch.stack([twin[place][0] for place in asked]) for twin in pictures.twins]
    some = range(min(200, len(pictures.twins[0])))
    first, second = (torch.stack([twin[place][0] for place in some]) for twin in pictures.twins)
    found["probe"] = told_apart(model, (first, second))
    if seed == 0:  # twice the training of the rest
        found["lost"] = lost(setup, pictures, seen, margins(model, torch.cat(seen)), seed)
        say("retrained")
    curvature = fit_curvature(model, pictures.train, max_examples=_at_most(setup.fitted, pictures))
    scores = scores_of(model, curvature)
    among = Ranked(pictures, torch.cat(seen), setup.ranked)
    found["aucs"] = ranked(model, scores, pictures, among)
    if seed == 0 and setup.kinds:
        found |= of_kinds(model, pictures, among)
    found |= mapped(model, scores, pictures, seen, setup.mapped)
    found["minutes"] = (time.monotonic() - began) / 60
    return found


def _at_most(count: int, pictures: Planted) -> int:
    return min(count, len(pictures.train))


def say(*words: object) -> None:
    """Tells how far a run is."""
    print(time.strftime("%H:%M:%S"), *words, flush=True)


def mean(values: list[float]) -> float:
    """The mean; NaN of none."""
    return float(torch.tensor(values).mean())


def margins(model: nn.Module, images: Tensor) -> Tensor:
    """The taught class's logit above the others, ``[N]``."""
    with torch.no_grad():
        logits = model(images)
    return logits[:, TAUGHT] - logits[:, 1:].logsumexp(1)


def lost(
    setup: Setup, pictures: Planted, seen: list[Tensor], before: Tensor, seed: int
) -> dict[str, float]:
    """What a test image's margin loses without the images of a cue, the mean over both cues."""
    drops = {"asked": 0.0, "other": 0.0}
    for cue in (0, 1):
        rest = pictures.train.part((~pictures.cued.has[:, cue]).nonzero().flatten().tolist())
        after = margins(setup.trained(rest, seed), torch.cat(seen))
        changes = (before - after).view(2, -1).mean(1)
        drops["asked"] += float(changes[cue]) / 2
        drops["other"] += float(changes[1 - cue]) / 2
    return drops


# %% [markdown]
# ### Rankings
#
# By every score and measure, by the similarity of features, by DualXDA, and by the cosine with
# every kind of curvature.

# %%
KINDS = [("diagonal", run.fitted), ("kfac", run.fitted), ("ekfac", run.fitted)]
KINDS += [("fisher", count) for count in run.gradients]
DAMPINGS = (1.0, 0.1, 0.01)
PEER = "DualXDA: its heat map"


class Ranked:
    """The training images of the taught class that are ranked, for the test images.

    Args:
        pictures: of the run.
        questions: the test images: those with A, then as many with B.
        count: how many images at most.
    """

    def __init__(self, pictures: Planted, questions: Tensor, count: int) -> None:
        self.questions, self.labels = questions, torch.full((len(questions),), TAUGHT)
        self.indices = (pictures.train.labels == TAUGHT).nonzero().flatten()[:count]
        self.images = torch.stack([pictures.train[int(index)][0] for index in self.indices])
        self.has = pictures.cued.has[self.indices]

    def aucs(self, table: Tensor) -> list[float]:
        """Of rankings ``[questions, images]``."""
        half = len(self.questions) // 2
        return [cue_auc(row, self.has[:, place // half]) for place, row in enumerate(table)]


def ranked(
    model: nn.Module, scores: dict[str, Score], pictures: Planted, among: Ranked
) -> dict[str, list[float]]:
    """AUCs of every ranking, one a test image."""
    questions = among.questions
    near = FeatureSimilarity(model, among.images)
    with torch.no_grad():
        table = torch.stack([near(among.images, test[None]) for test in questions])
    aucs = {"features": among.aucs(table)}
    if dual_xda.installed():
        table = dual_xda.DualXda(model, pictures.train).attributions(questions, TAUGHT)
        aucs["DualXDA"] = among.aucs(table[:, among.indices])
    for name, score in scores.items():
        ranking = ScoreInfluence(score, [(image, TAUGHT) for image in among.images])
        aucs[name] = among.aucs(ranking.influence((questions, among.labels)))
        say(name, interval(aucs[name]))
    return aucs


def of_kinds(model: nn.Module, pictures: Planted, among: Ranked) -> dict[str, Any]:
    """AUCs of the cosine with every kind of curvature, and how long it took to fit."""
    plain, parameters = GradCosScore(model), sum(one.numel() for one in model.parameters())
    kinds: dict[str, list[float]] = {}
    seconds: dict[str, float] = {}
    for kind, count in KINDS:
        began = time.perf_counter()
        most = _at_most(count, pictures)
        if kind == "fisher" and 4 * most * parameters > MOST_BYTES:
            continue  # gradients that are not kept are computed again for each test image
        curvature = fit_curvature(model, pictures.train, kind, max_examples=most)
        name = kind if kind != "fisher" else f"fisher of {count}"
        seconds[name] = time.perf_counter() - began
        asked = StoredGradients.joined(
            [
                InfluenceScore(model, curvature.with_damping(damping)).test_gradients(
                    among.questions, among.labels
                )
                for damping in DAMPINGS
            ]
        )
        # Curvature acts on the test side alone, so one pass ranks for all dampings.
        table = torch.cat(
            [
                plain.against(part, torch.full((len(part),), TAUGHT), asked)
                for part in among.images.split(50)
            ]
        )
        for damping, columns in zip(DAMPINGS, table.chunk(len(DAMPINGS), 1), strict=True):
            kinds[f"{name}, damping {damping:g}"] = among.aucs(columns.T)
        say(name, f"{seconds[name]:.1f} s", *[mean(one) for one in list(kinds.values())[-3:]])
    return {"kinds": kinds, "seconds": seconds}


# %% [markdown]
# ### Maps
#
# With a cosine a pixel acts in two ways: it turns the training gradient, and it makes it longer or
# shorter. Maps whose *norm is held* leave the second out, with the norm of the training image as it
# is; or with the norm of each point on the path. Of the maps that have a sign the positive part is
# read.


# %%
def mapped(
    model: nn.Module,
    scores: dict[str, Score],
    pictures: Planted,
    seen: list[Tensor],
    count: int,
) -> dict[str, Any]:
    """What maps say, and what the scores lose when a cue is taken away."""
    both = pictures.cued.both[:count].tolist()
    inside = pictures.cued.inside[both]
    start = mean_colour(pictures.train).view(1, 3, 1, 1)
    drawings = []
    for place, index in enumerate(both):
        image = pictures.train[index][0][None]
        tests = torch.stack([twins[place % len(twins)] for twins in seen])
        drawings.append(Drawing(image, start.expand_as(image), tests, run.samples))
    without = [
        torch.cat([drawing.image, pictures.without(index, 0), pictures.without(index, 1)])
        for drawing, index in zip(drawings, both, strict=True)
    ]
    found: dict[str, Any] = {"maps": {}, "removal": {}, "parts": {}, "times": {}}
    scores = {name: score for name, score in scores.items() if name not in ALIKE}

    def read(name: str, heats: Tensor) -> None:
        """Takes in heat ``[P, 2, H, W]``."""
        found["maps"][name] = reading(heats, inside)

    def values_of(score: Any) -> Tensor:
        """Scores of the images as they are, without A and without B, ``[P, 3, asked]``."""
        rows = zip(drawings, without, strict=True)
        return torch.stack([one.scores(score, images) for one, images in rows]).detach()

    def removed(name: str, score: Any) -> Tensor:
        """What a score loses without either cue, ``[P, asked, cue]``."""
        values = values_of(score)
        drops = (values[:, :1] - values[:, 1:]).transpose(1, 2)
        heats = (drops.clamp_min(0)[..., None, None] * inside[:, None]).sum(2)
        found["removal"][name] = reading(heats, inside)[:2]
        return drops / values[:, 0, :, None].abs().clamp_min(1e-12)

    for name, score in scores.items():
        parts = {"removal": removed(name, score)}
        for kind, draw in maps_of(name, score).items():
            flat = torch.stack([draw(drawing) for drawing in drawings])
            read(f"{name}: {kind}", flat.clamp_min(0))
            if name in MAIN and kind != PAPER:
                worth = torch.stack(
                    [one.scores(score, one.image)[0] for one in drawings]
                )  # [P, asked]
                in_cues = (flat[:, :, None] * inside[:, None]).flatten(3).sum(3)
                parts[kind] = in_cues / worth.abs().clamp_min(1e-12)[..., None]
        if name in MAIN:
            parts["removal, norm held"] = removed(f"{name}, norm held", InnerProduct(score))
            found["times"][name] = times(values_of(InnerProduct(score)), values_of(score))
            found["parts"][name] = {kind: part_reading(part) for kind, part in parts.items()}
        say(name, "removal", *[round(one[0], 2) for one in found["removal"][name]])
        for kind in maps_of(name, score):
            say("  ", kind, *[round(one[0], 2) for one in found["maps"][f"{name}: {kind}"]])
    near = FeatureSimilarity(model, torch.cat([drawing.image for drawing in drawings]))
    removed("features", near)
    flat = torch.stack([near.path(drawing) for drawing in drawings])
    read("features: integrated gradients", flat.clamp_min(0))
    own = torch.stack([of_own_label(model, drawing) for drawing in drawings])
    read("own label: integrated gradients", own.clamp_min(0)[:, None].expand(-1, 2, -1, -1))
    if dual_xda.installed():
        fitted = dual_xda.DualXda(model, pictures.train)
        heats = []
        try:
            for drawing, index in zip(drawings, both, strict=True):
                worth = fitted.attributions(drawing.tests, TAUGHT)[:, index]
                heats.append(fitted.heat(drawing.image, drawing.tests, worth))
            read(PEER, torch.stack(heats))
        except RuntimeError as error:  # zennit has no rule for some layers
            found["refused"] = str(error)
    found["area"] = float(inside.double().mean())
    return found


def reading(heats: Tensor, inside: Tensor) -> list[list[float]]:
    """Own share, moves right and mass of heat ``[P, 2, H, W]``, each with its interval."""
    found = read_cues(heats[:, 0], heats[:, 1], inside)
    return [
        [one.mean, one.low, one.high] for one in (found.own_share, found.moves_right, found.mass)
    ]


def part_reading(part: Tensor) -> list[float]:
    """Of contributions ``[P, asked, cue]``: how often the asked cue's is above 0, both means."""
    asked = part.diagonal(dim1=1, dim2=2)
    other = part.flip(2).diagonal(dim1=1, dim2=2)
    return [float(value) for value in ((asked > 0).double().mean(), asked.mean(), other.mean())]


def times(products: Tensor, cosines: Tensor) -> list[float]:
    """How many times the product, the norm and the cosine become without the asked cue: medians.

    Args:
        products: inner products with the images as they are and without either cue,
            ``[P, 3, asked]``.
        cosines: the same over the norms.
    """
    product, cosine = (
        (values[:, 1:] / values[:, :1]).diagonal(dim1=1, dim2=2) for values in (products, cosines)
    )
    return [float(ratio.median()) for ratio in (product, product / cosine, cosine)]


SETUPS = all_setups()
OF_PHOTOGRAPHS = [
    f"photograph_{word}" for word in ("side", "epochs", "ranked", "mapped", "network")
]
asked_of = {
    key: value
    for key, value in vars(run).items()
    if key not in ("out", "cache", "seeds", "tints_seeds", "setups", "data")
    and not key.startswith("photograph")
}
found: dict[str, list[dict[str, Any]]] = {name: [] for name in SETUPS}
seeds_of = {"photographs": run.photograph_seeds, "tints": run.tints_seeds}
for seed in range(max(run.seeds, *seeds_of.values())):
    for name, setup in SETUPS.items():
        if seed >= seeds_of.get(name.split(",")[0], run.seeds):
            continue
        say(f"{name}, seed {seed}")
        file = f"{name.replace(', ', '-').replace(' ', '-')}-{seed}.json"
        key = {**asked_of, "pictures": len(setup.train)}
        if name.startswith("photographs"):
            key |= {name: value for name, value in vars(run).items() if name in OF_PHOTOGRAPHS}
        work = partial(measured, setup, seed)
        found[name].append(remembered(Path(run.cache) / "two_cues" / file, key, work))

# %% [markdown]
# ## What came out


# %%
def over_seeds(values: list[list[float]]) -> str:
    """The mean over runs with its interval; of one run its own."""
    if len(values) > 1:
        return str(interval([one[0] for one in values]))
    return str(Interval(*values[0])) if values else "–"


def over_questions(values: list[list[float]]) -> str:
    """The mean over runs of means over test images, likewise."""
    own = [[*interval(one)] if len(one) > 1 else [one[0]] * 3 for one in values]
    return over_seeds(own)


told = {name: [one for one in runs if one["asked"]] for name, runs in found.items()}
record.say(
    "Does a ranking of the taught class put the training images first that carry the asked cue? "
    "And does the map of an image with both cues lie in the asked one? All of it is our own "
    "finding. Where there are several runs (seeds: other pictures, places and networks), numbers "
    "are means over runs with 95 % intervals of these; of a single run the interval is over test "
    "or training images."
)
record.table(
    [
        "set-up",
        "runs",
        "test images that both cues fool",
        "twins told apart by a linear probe",
        "margin lost without the asked cue",
        "without the other cue",
        "minutes a run",
    ],
    [
        [
            name,
            f"{len(told[name])} of {len(runs)}",
            mean([one["fooled"] for one in runs]),
            mean([one["probe"] for one in told[name]]),
            mean([one["lost"]["asked"] for one in told[name] if "lost" in one]),
            mean([one["lost"]["other"] for one in told[name] if "lost" in one]),
            mean([one["minutes"] for one in told[name]]),
        ]
        for name, runs in found.items()
    ],
)
record.say(
    "The margin is the taught class's logit above the others, of test images that carry a cue; it "
    "is lost when the network is trained anew without the images that carry the asked cue, or the "
    "other one. The probe sees the features of the last layer."
)
told = {name: runs for name, runs in told.items() if runs}
some_run = next(iter(told.values()))[0]


# %%
def names_of(part: str) -> list[str]:
    """The names under which a part of the runs has its numbers; not every run has all parts."""
    return list(next((one[part] for runs in told.values() for one in runs if part in one), {}))


def side_by_side(part: str, first: str) -> None:
    """A table of AUCs: a row a ranking, a column a set-up."""
    record.table(
        [first, *told],
        [
            [
                kind,
                *[
                    over_questions([one[part][kind] for one in runs if part in one])
                    for runs in told.values()
                ],
            ]
            for kind in names_of(part)
        ],
    )


record.say(
    "## Rankings\n\nAUC of “carries the asked cue”, 0.5 by chance. The influences stand on EK-FAC "
    "with damping 0.1. A “logit” or “margin” is measured in the place of the cross-entropy."
)
side_by_side("aucs", "score")
record.say("The cosine with other kinds of curvature, and with other damping:")
side_by_side("kinds", "kind, relative damping")
record.say("Seconds to fit each kind, on a machine shared with others:")
record.table(
    ["kind", *told],
    [
        [
            kind,
            *[
                mean([one["seconds"][kind] for one in runs if kind in one.get("seconds", {})])
                for runs in told.values()
            ],
        ]
        for kind in names_of("seconds")
    ],
)


# %%
def of_maps(runs: list[dict[str, Any]], kind: str, place: int) -> float:
    """The mean over runs: own share (0), moves right (1), or mass (2); NaN if there are none."""
    return mean([one["maps"][kind][place][0] for one in runs if kind in one["maps"]])


def in_short(kind: str) -> list[Any]:
    """The row of a map: own shares, the least of them and of moves right, mass over area."""
    shares, right = ([of_maps(runs, kind, place) for runs in told.values()] for place in (0, 1))
    mass = [of_maps(runs, kind, 2) / mean([one["area"] for one in runs]) for runs in told.values()]
    least = [min(filter(math.isfinite, values)) for values in (shares, right)]
    return [kind, *shares, *least, mean(list(filter(math.isfinite, mass)))]


record.say(
    "## Maps, in short\n\nOwn share on each set-up, and the least of moves right over the set-ups; "
    "0.5 is chance for both. The mass is given as a multiple of the cue's area, the mean over "
    "set-ups. In the order of the least own share; nan is a map that could not be made. "
    "Occlusion's windows are larger than the cues, so a part of what it finds lies outside."
)
every = [one for runs in told.values() for one in runs]
kinds = [
    kind for kind in some_run["maps"] if kind == PEER or all(kind in one["maps"] for one in every)
]
record.table(
    ["score: map", *told, "least own share", "least moves right", "mass over area"],
    sorted(map(in_short, kinds), key=lambda row: -row[-3]),
)

# %%
record.say(
    "## Why maps go wrong\n\nIn how many images the asked cue contributes more than 0: by each "
    "map, and by true removal (the pixels that were there come back). With the norm held it is "
    "what the cue does to the inner product of the gradients alone; the rest is what it does to "
    "the training gradient's norm."
)
for name in MAIN:
    record.say(f"### {name}")
    record.table(
        ["by", *told],
        [
            [kind, *[mean([one["parts"][name][kind][0] for one in runs]) for runs in told.values()]]
            for kind in some_run["parts"][name]
        ],
    )
record.say(
    "### What removal changes\n\nWhen the asked cue is taken away: how many times as large the "
    "inner product, the training gradient's norm, and the score become. Medians over images, means "
    "over runs."
)
record.table(
    ["set-up", "score", "inner product", "norm", "score itself"],
    [
        [
            setup,
            name,
            *[
                mean([one["times"][name][place] for one in runs if "times" in one])
                for place in range(3)
            ],
        ]
        for setup, runs in told.items()
        for name in MAIN
    ],
)

# %%
for name, runs in told.items():
    area = mean([one["area"] for one in runs])
    record.say(f"## Maps: {name}\n\nThe cue's area is {area:.3f}.")
    rows = [
        [
            f"{kind}: **removal**",
            *[over_seeds([one["removal"][kind][i] for one in runs]) for i in (0, 1)],
            "–",
        ]
        for kind in runs[-1]["removal"]
    ]
    rows += [
        [kind, *[over_seeds([one["maps"][kind][place] for one in runs]) for place in range(3)]]
        for kind in runs[-1]["maps"]
    ]
    record.table(["score: map", "own share", "moves right", "mass"], sorted(rows))
    if "refused" in runs[-1]:
        record.say(f"DualXDA has no heat map for this network; zennit: “{runs[-1]['refused']}”")
record.save()
