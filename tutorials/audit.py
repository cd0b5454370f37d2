# %% [markdown]
# # Which parts of the training data are behind a model's mistakes?
#
# One mistake is an anecdote. `audit` explains many, and looks for regions of training images that
# come up again and again behind them. Does it find a shortcut that was planted, as one cluster at
# the top? And does it say nothing where there is none?
#
# A red square is put into the lower right corner of some training pictures of *one* class. Then
# some test pictures of the other classes get it, too, and are called by the wrong name; or none
# does, and pictures of the class itself, which lack it, are not recognised any more (the case of
# bacha2025training, section 5.2). Three data sets: the demo's shapes, CIFAR-10 (the square on 5, 20
# and 80 % of one of four classes), and photographs of ants and bees with a network that was trained
# on ImageNet. Of each, the same without any square.
#
# What is planted is known: which training pictures carry the square, and which mistakes there would
# not be without it. A network that did not learn the square has nothing to find, so that is
# measured too. The search was tried out with seeds 0 to 3; the page is of
# others.

# %%
from functools import partial
from pathlib import Path

import matplotlib.pyplot as plt
import torch
from safetensors.torch import load_file

from captum_tfa.auditing.clusters import needed
from captum_tfa.demo import SmallCNN, make_shapes, train_classifier
from captum_tfa.metrics.shortcuts import corner_square
from common.asked_audits import Searched, against_the_answer, against_the_right_class
from common.data import cifar10, photographs, save, subset_of_classes
from common.fine_tuning import fine_tuned
from common.maps import show_map, show_picture
from common.networks import kept
from common.planted_audits import Planted, caused_by_square, learned, plant, some_of_each
from common.record import Record
from common.remembering import remembered
from common.rivals import unkept_score
from common.settings import settings
from common.training import train_in_half

run = settings(
    data="cifar10",
    photographs="ants_bees",  # train/<class>/*, val/<class>/*; the first class gets the square
    out="results",
    cache="tutorials-cache",
    sets=("shapes", "cifar10", "more", "photographs"),
    seeds=(4, 5),
    clean_seeds=(4, 5),
    rates=(5, 20, 80),  # % of the planted class
    missing_seeds=(5,),  # for the case without the square in the test
    missing_rates=(80, 100),
    per_class=600,
    epochs=8,
    classes=("cat", "dog", "ship", "automobile"),  # the first one gets the square
    side=8,  # of the square, on 32 x 32 pixels
    test_per_class=200,
    test_rate=0.2,  # of the other classes' test pictures
    mistakes=15,
    opponents=4,
    score="influence",
    fitted=300,  # training pictures to which its curvature is fitted
    controls=19,
    more_per_class=2000,  # for a square on few, the smallest of the rates
    more_mistakes=40,
    more_seeds=(5,),
    shapes_per_class=300,
    network="efficientnet_lite0",
    photograph_seeds=(5,),
    photograph_side=96,
    photograph_epochs=5,
    photograph_mistakes=10,
    photograph_score="grad-cos",
)
SHAPES, CIFAR, MORE, PHOTOGRAPHS = "shapes", "CIFAR-10", "more of CIFAR-10", "photographs"
THERE, MISSING, ANSWER, CLEAN = "there", "missing", "answer", "none"
EXAMPLES = 5  # in a figure
Case = tuple[str, int, str, int]  # the data set, % of the class, the square in the test, the seed
record = Record("Audit", run.out, run)


# %% [markdown]
# ## The networks


# %%
def shapes(rate: int, kind: str, seed: int):
    drawn = make_shapes(run.shapes_per_class, 100, shortcut_rate=0, seed=seed)
    test_rate = run.test_rate if kind == THERE else 0
    square = corner_square(32, 32, run.side)
    data = plant(drawn.train, drawn.test, 3, square, rate / 100, test_rate, seed)
    name = f"audit-shapes-{run.shapes_per_class}-{rate}-{seed}.safetensors"
    torch.manual_seed(seed)
    make = partial(train_classifier, dataset=data.train, seed=seed)
    return data, kept(Path(run.cache) / name, SmallCNN(4), make)


def cifar(rate: int, kind: str, seed: int, per_class: int = run.per_class):
    train, test = (
        subset_of_classes(cifar10(run.data, train=part, cache=run.cache), run.classes)
        for part in (True, False)
    )
    data = plant(
        some_of_each(train, per_class, seed),
        some_of_each(test, run.test_per_class, seed),
        0,
        corner_square(32, 32, run.side),
        rate / 100,
        run.test_rate if kind == THERE else 0,
        seed,
    )
    name = f"audit-{'-'.join(run.classes)}-{per_class}-{run.epochs}-{run.side}-{rate}-{seed}"
    torch.manual_seed(seed)
    make = partial(train_in_half, dataset=data.train, epochs=run.epochs, seed=seed)
    network = SmallCNN(len(run.classes))
    return data, kept(Path(run.cache) / f"{name}.safetensors", network, make)


def ants(rate: int, kind: str, seed: int):
    side = run.photograph_side
    train, test = (photographs(run.photographs, split, side) for split in ("train", "val"))
    square = corner_square(side, side, round(side / 6.4))
    test_rate = run.test_rate if kind == THERE else 0
    data = plant(train, test, 0, square, rate / 100, test_rate, seed)
    cache = Path(run.cache) / f"audit-photographs-{rate}"
    return data, fine_tuned(run.network, data.train, cache, run.photograph_epochs, seed=seed)


def case_name(case: Case) -> str:
    name, rate, kind, seed = case
    told = {THERE: "", MISSING: ", missing", ANSWER: ", missing, of the answer"}
    what = f"{rate} %{told[kind]}" if rate else "clean"
    return f"{name}, {what}, seed {seed}"


def in_unit(picture: torch.Tensor) -> torch.Tensor:
    """``uint8 [C, H, W]`` as matplotlib shows it."""
    return (picture.float() / 255).permute(1, 2, 0)


more = partial(cifar, per_class=run.more_per_class)
MAKE = {SHAPES: shapes, CIFAR: cifar, MORE: more, PHOTOGRAPHS: ants}
MISTAKES = {MORE: run.more_mistakes, PHOTOGRAPHS: run.photograph_mistakes}
cases: list[Case] = []
for seed in sorted({*run.seeds, *run.clean_seeds}):
    for name, rates in ((SHAPES, (90,)), (CIFAR, run.rates)):
        if name.lower().replace("-", "") not in run.sets:
            continue
        if seed in run.seeds:
            cases += [(name, rate, THERE, seed) for rate in rates]
        if seed in run.clean_seeds:
            cases.append((name, 0, CLEAN, seed))
if "cifar10" in run.sets:
    for seed in run.missing_seeds:
        for rate in run.missing_rates:
            cases += [(CIFAR, rate, kind, seed) for kind in (MISSING, ANSWER)]
if "more" in run.sets:
    cases += [(MORE, min(run.rates), THERE, seed) for seed in run.more_seeds]
if PHOTOGRAPHS in run.sets:
    for seed in run.photograph_seeds:
        cases += [(PHOTOGRAPHS, 100, kind, seed) for kind in (THERE, ANSWER)]
        cases.append((PHOTOGRAPHS, 0, CLEAN, seed))

# %% [markdown]
# ## An audit of each
#
# `audit` is not told about the square. It asks what speaks against the *right* class of a mistake.
# Where the square is missing in the test, the pictures that carry it speak for the right class, so
# the paper's question is asked as well ("answer" below): what speaks against the *answer* that the
# network gave? Afterwards the top cluster is compared with what is known: the share of its training
# pictures that carry the square, and of the windows under their maps' peaks that hold most of it.


# %%
def measure(case: Case) -> dict:
    name, rate, kind, seed = case
    data, model = MAKE[name](rate, kind, seed)
    score = run.photograph_score if name == PHOTOGRAPHS else run.score
    ask = against_the_answer if kind == ANSWER else against_the_right_class
    found = ask(
        model,
        data.train,
        data.test,
        unkept_score(score, model, data.train, run.fitted),
        max_mistakes=MISTAKES.get(name, run.mistakes),
        k=run.opponents,
        controls=run.controls,
        seed=seed,
    )
    save(shown(found, data), pictures_of(case))
    return {**learned(model, data), **compared(found, data, model)}


def compared(found: Searched, data: Planted, model) -> dict:
    """What was found, and what is known of it."""
    caused = caused_by_square(model, data, found.mistakes)
    evidence = found.evidence
    rows = []
    for cluster in found.regions.clusters:
        images, first = unique(evidence.indices[cluster.members])
        inside = over(cluster.peaks[first], cluster.box, data.square)
        behind = evidence.mistakes[cluster.members].unique()
        rows.append(
            {
                "stands out": cluster.stands_out,
                "strength": cluster.strength,
                "lift": cluster.lift,
                "images": cluster.images,
                "carry": float(data.with_square[images].float().mean()),
                "over the square": float(inside.float().mean()),
                "mistakes": cluster.share_of_mistakes,
                "caused mistakes": int(caused[behind].sum()),
                "largest class": max(cluster.purity.values()),
            }
        )
    images = evidence.indices.unique()
    return {
        "all mistakes": found.all_mistakes,
        "looked at": len(found.mistakes),
        "caused": int(caused.sum()),
        "images": len(images),
        "carry": int(data.with_square[images].sum()),
        "pairs that carry": float(data.with_square[evidence.indices].float().mean()),
        "control": list(found.regions.control.strengths),
        "clusters": rows,
        "says": found.regions.says,
    }


def shown(found: Searched, data: Planted) -> dict[str, torch.Tensor]:
    """What the figures need of the top cluster, and of all pairs."""
    top, evidence = found.regions.clusters[0], found.evidence
    examples = top.examples[:EXAMPLES]
    return {
        "mean map": top.mean_map.contiguous(),
        "mean patch": top.mean_patch.contiguous(),
        "images": evidence.images[examples],
        "heat": evidence.responsible[examples],
        "mistakes": found.images[evidence.mistakes[examples]],
        "embedding": found.regions.embedding.contiguous(),
        "groups": found.regions.groups,
        "carry": data.with_square[evidence.indices],
    }


def pictures_of(case: Case) -> Path:
    return Path(run.cache) / "audits" / f"{'-'.join(map(str, case))}.safetensors"


def unique(indices: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """The different ones, and where each is first."""
    images, of = indices.unique(return_inverse=True)
    order = torch.arange(len(indices))
    return images, torch.full((len(images),), len(indices)).scatter_reduce(0, of, order, "amin")


def over(peaks: torch.Tensor, box: tuple[int, int, int, int], square: torch.Tensor) -> torch.Tensor:
    """Whether each window, given by its middle, holds at least half of the square."""
    high, wide = box[2:]
    tops = (peaks - torch.tensor([(high - 1) / 2, (wide - 1) / 2])).round().long().tolist()
    held = [square[y : y + high, x : x + wide].sum() / square.sum() for y, x in tops]
    return torch.stack(held) >= 0.5


# A result depends on the case and on these.
DEPENDS = (
    *("per_class", "epochs", "classes", "side", "test_per_class", "test_rate", "mistakes"),
    *("opponents", "score", "fitted", "controls", "shapes_per_class", "network"),
    *("photograph_side", "photograph_epochs", "photograph_mistakes", "photograph_score"),
)
DEPENDS_MORE = ("more_per_class", "more_mistakes")
results = {}
for case in cases:
    results[case] = remembered(
        Path(run.cache) / "audits" / f"{'-'.join(map(str, case))}.json",
        {
            name: getattr(run, name)
            for name in (*DEPENDS, *(DEPENDS_MORE if case[0] == MORE else ()))
        },
        partial(measure, case),
    )
    print(*case, results[case]["says"], flush=True)

# %% [markdown]
# ## What came out
#
# The top cluster *is the square* if it stands out, at least nine in ten of its training pictures
# carry it, and most of the windows under their maps' peaks hold at least half of it.

# %%


def is_square(cluster: dict) -> bool:
    return cluster["stands out"] and cluster["carry"] >= 0.9 and cluster["over the square"] > 0.5


def told(found: dict) -> str:
    first, *others = found["clusters"]
    if not first["stands out"]:
        return "nothing"
    more = sum(cluster["stands out"] for cluster in others)
    return ("the square" if is_square(first) else "other") + (f", and {more} more" if more else "")


WORDS = {
    THERE: "Planted, and in some pictures of the test",
    MISSING: "Planted, but missing in the test",
    ANSWER: "The same, asked what speaks against the answer",
}
for kind, words in WORDS.items():
    of_kind = [found for case, found in results.items() if case[2] == kind]
    hits = sum(is_square(found["clusters"][0]) for found in of_kind)
    alone = sum(told(found) == "the square" for found in of_kind)
    if of_kind:
        record.say(
            f"- **{words}: in {hits} of {len(of_kind)} runs the top cluster is the square**; in "
            f"{alone} of them nothing else stands out beside it."
        )
    learned_it = [found for found in of_kind if found["caused"]]
    if len(learned_it) < len(of_kind):
        hits = sum(is_square(found["clusters"][0]) for found in learned_it)
        record.say(
            f"  Of the {len(learned_it)} in which at least one of the explained mistakes is caused "
            f"by it: in {hits}."
        )
of_kind = [found for case, found in results.items() if case[2] == CLEAN]
if of_kind:
    quiet = sum(told(found) == "nothing" for found in of_kind)
    record.say(f"- **No square: in {quiet} of {len(of_kind)} runs nothing stands out.**")

record.say(
    "Did the network learn the square? The share of the test pictures that it gets right without "
    "any square; of those of the planted class, without the square and with it; and the share of "
    "the other classes' pictures that it calls the planted class, without and with."
)
SHARES = (
    "right",
    "planted class, right without",
    "planted class, right with",
    "others, called so without",
    "others, called so with",
)
record.table(
    ("run", *SHARES),
    [
        (case_name(case), *(f"{found[name]:.0%}" for name in SHARES))
        for case, found in results.items()
    ],
)
record.say(
    "The mistakes that were explained, and how many of these there would not be without what was "
    "planted; the share of their opponents (pairs) that carry the square; what stands out, and "
    "what the top cluster is like: how many training images it has and how many of these carry the "
    "square, the mistakes that it stands behind, its strength beside what is needed, and how many "
    "times as often as by chance it comes up."
)


def row(case: Case, found: dict) -> tuple:
    top = found["clusters"][0]
    return (
        case_name(case),
        f"{found['caused']} of {found['looked at']}",
        f"{found['pairs that carry']:.0%}",
        told(found),
        f"{top['carry']:.0%} of {top['images']}",
        f"{top['mistakes']:.0%}",
        f"{top['strength']:.3g} ({needed(found['control']):.3g})",
        top["lift"],
    )


record.table(
    (
        "run",
        "caused by it",
        "opponents that carry it",
        "stands out",
        "images of the top that carry it",
        "mistakes behind",
        "strength (needed)",
        "times chance",
    ),
    [row(case, found) for case, found in results.items()],
)

# %%
figure, axis = plt.subplots(figsize=(8, 0.27 * len(results) + 1), layout="constrained")
for line, found in enumerate(results.values()):
    axis.scatter(found["control"], [line] * len(found["control"]), s=9, color="grey")
    axis.scatter(needed(found["control"]), line, s=60, color="black", marker="|")
    for cluster in reversed(found["clusters"]):
        colour = "tab:red" if is_square(cluster) else "tab:orange"
        face = colour if cluster["stands out"] else "none"
        axis.scatter(cluster["strength"], line, s=36, edgecolor=colour, facecolor=face)
axis.set_yticks(range(len(results)), [case_name(case) for case in results], fontsize=8)
axis.set(xscale="symlog", xlabel="strength (nats)", xlim=(0, None))
axis.invert_yaxis()
record.figure(
    figure,
    "strengths",
    "Each run's clusters: red is the square, orange anything else; filled if it stands out. Grey: "
    "the top of each draw of the control; the black line is what is needed.",
)

# %% [markdown]
# ## What it looks like
#
# The top cluster of the first run of each kind: its mean map, the mean of what lies under the
# peaks, and training images with their maps; above each the mistake that it stands behind.

# %%
first_of_kind = {case[:3]: case for case in reversed(results)}
for case in reversed(first_of_kind.values()):
    seen = load_file(pictures_of(case))
    count = len(seen["images"])
    figure, axes = plt.subplots(2, 1 + count, figsize=(1.5 * (1 + count), 3.4))
    axes[0, 0].imshow(seen["mean patch"].permute(1, 2, 0).clamp(0, 1))
    axes[0, 0].set_title("mean content", fontsize=8)
    axes[1, 0].imshow(seen["mean map"], cmap="inferno")
    axes[1, 0].set_title("mean map", fontsize=8)
    for column in range(count):
        show_picture(axes[0, column + 1], in_unit(seen["mistakes"][column]), "mistake")
        picture = in_unit(seen["images"][column])
        show_map(axes[1, column + 1], picture, seen["heat"][column], "training")
    for place in axes.flat:
        place.set_axis_off()
    top = results[case]["clusters"][0]
    record.figure(
        figure,
        "-".join(str(part) for part in case[:3]).lower().replace(" ", "_"),
        f"{case_name(case)}: the top cluster, strength {top['strength']:.3g}"
        + (", stands out." if top["stands out"] else ", does not stand out."),
    )

# %% [markdown]
# The same runs on a plane (t-SNE): each point is a pair of a mistake and a training image.

# %%
shown_cases = list(reversed(first_of_kind.values()))
lines = -(-len(shown_cases) // 4)
figure, axes = plt.subplots(lines, 4, figsize=(10, 2.7 * lines), squeeze=False)
for axis in axes.flat:
    axis.set(xticks=[], yticks=[])
for axis in axes.flat[len(shown_cases) :]:
    axis.set_axis_off()
for axis, case in zip(axes.flat, shown_cases, strict=False):
    seen = load_file(pictures_of(case))
    carry, top = seen["carry"], seen["groups"] == 0
    for group, marker in ((top, "o"), (~top, "x")):
        colours = ["tab:red" if each else "tab:blue" for each in carry[group].tolist()]
        axis.scatter(*seen["embedding"][group].T, s=10, c=colours, marker=marker, linewidth=0.7)
    axis.set_title(case_name(case).replace(", missing", ",\nmissing"), fontsize=7)
record.figure(
    figure,
    "plane",
    "Red: the training image carries the square. Circles: the pair is in the top cluster.",
)
record.save()
