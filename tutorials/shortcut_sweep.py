# %% [markdown]
# # A shortcut, from none of the dogs to all of them
#
# A red square is put into the lower right corner of some of the *dog* training pictures. The more
# dogs carry it, the more a network takes the square itself for the name of the class. Does the
# map of a training picture follow? This is the sweep of bacha2025training, appendix D.3: classes
# dog, ship and automobile of CIFAR-10, 17 fractions from 0 to 100 %, the same CNN trained from
# scratch for each.
#
# Asked of every network:
#
# - its accuracy on the untouched test set, on its dogs (none carries the square), and on the ships
#   when each of them carries the square: ships that are called dogs show that it fell for it;
# - for patched test ships, the training pictures most *opposed* to the answer "ship", and the
#   share of the top 10 % pixels of their maps that lies in the square: the patch attribution
#   fraction. The paper claims that it rises with the fraction of dogs that carry the square.

# %%
from functools import partial
from pathlib import Path

import matplotlib.pyplot as plt
import torch

from captum_tfa import SmoothGrad, TrainingGradCos
from captum_tfa.demo import Pictures, SmallCNN, predict
from captum_tfa.metrics.controls import own_label_grad_cam, own_label_gradient
from captum_tfa.metrics.localisation import positive_mass, saliency
from captum_tfa.metrics.masking import mean_colour
from captum_tfa.metrics.paired import paired_difference
from captum_tfa.metrics.shortcuts import (
    corner_square,
    paint_region,
    patch_attribution,
    some_of_class,
)
from captum_tfa.metrics.similarity import spearman
from common.data import cifar10, plain, subset_of_classes
from common.networks import kept
from common.record import Record, interval
from common.remembering import remembered
from common.settings import settings
from common.training import train_in_half

FRACTIONS = (0, 5, 10, 15, 20, 25, 30, 40, 50, 60, 70, 75, 80, 85, 90, 95, 100)  # % of the dogs

run = settings(
    data="cifar10",
    out="results",
    cache="tutorials-cache",
    fractions=FRACTIONS,
    seeds=(0, 1),
    epochs=2,
    pool=2000,  # training pictures among which opponents are looked for
    tests=5,  # patched ships whose opponents are mapped
    opponents=10,
    nt_samples=20,
)
CLASSES = ("dog", "ship", "automobile")
DOG, SHIP = 0, 1
RED = torch.tensor([255, 0, 0])
train = subset_of_classes(cifar10(run.data, train=True, cache=run.cache), CLASSES)
test = subset_of_classes(cifar10(run.data, train=False, cache=run.cache), CLASSES)
square = corner_square(32, 32, side=5)


def painted(pictures: Pictures, which: torch.Tensor) -> Pictures:
    images = paint_region(pictures.images, which, square, RED)
    return Pictures(images, pictures.labels, CLASSES, transform=pictures.transform)


def network(planted: Pictures, fraction: int, seed: int) -> torch.nn.Module:
    torch.manual_seed(seed)
    return kept(
        Path(run.cache) / f"shortcut-{len(train)}-{run.epochs}-{fraction}-{seed}.safetensors",
        SmallCNN(len(CLASSES)),
        lambda model: train_in_half(model, planted, run.epochs, seed),
    )


# %% [markdown]
# ## Four ways to see a training picture
#
# All look at the same opponents. The first two are maps of the influence: the paper's
# `|gradient|`, and minus gradient × (input − mean colour), which keeps only what speaks *against*
# the right answer. The other two never see the test picture: ordinary feature attribution of the
# training picture's own label. If they did as well, influence would add nothing.


# %%
def ways(model: torch.nn.Module, mean: torch.Tensor):
    method = SmoothGrad(TrainingGradCos(model))

    def saliencies(images, labels, test_image, test_label):
        maps = method.attribute(images, labels, (test_image, test_label), run.nt_samples)
        return {
            "|gradient| (paper)": saliency(maps),
            "−gradient × (input − mean)": positive_mass(-maps * (images - mean)),
            "own label, SmoothGrad": own_label_gradient(model, images, labels, run.nt_samples),
            "own label, Grad-CAM": own_label_grad_cam(model, model[6], images, labels),
        }

    return saliencies


# %% [markdown]
# ## One network
#
# With one seed a larger fraction keeps all squares of a smaller one, and the test ships are the
# same. Opponents are looked for in a random part of the training set, the same for all fractions.


# %%
def chosen(count: int, among: torch.Tensor, seed: int) -> list[int]:
    order = torch.randperm(len(among), generator=torch.Generator().manual_seed(seed))
    return among[order[:count]].tolist()


def case(fraction: int, seed: int):
    """Which training pictures carry the square, all of them, the network, patched test ships."""
    which = some_of_class(train.labels, DOG, fraction / 100, seed)
    planted = painted(train, which)
    ships = test.part((test.labels == SHIP).nonzero().flatten().tolist())
    return which, planted, network(planted, fraction, seed), painted(ships, ships.labels == SHIP)


def measure(fraction: int, seed: int) -> dict:
    which, planted, model, ships = case(fraction, seed)
    probabilities, labels = predict(model, test)
    right = (probabilities.argmax(1) == labels).double()
    ships_right = (predict(model, ships)[0].argmax(1) == SHIP).double()

    asked = chosen(run.tests, torch.arange(len(ships)), seed)
    pool = chosen(run.pool, torch.arange(len(train)), seed)
    found = patch_attribution(
        model,
        planted.part(pool),
        torch.stack([ships[index][0] for index in asked]),
        torch.full((len(asked),), SHIP),
        square,
        ways(model, mean_colour(planted).view(-1, 1, 1)),
        k=run.opponents,
    )
    opponents = torch.tensor(pool)[found.opponents]
    return {
        "all": float(right.mean()),
        "dogs": float(right[labels == DOG].mean()),
        "patched ships": float(ships_right.mean()),
        # One row a test ship, one number an opponent:
        "carry the square": which[opponents].double().tolist(),
        "are dogs": (train.labels[opponents] == DOG).double().tolist(),
        "shares": {way: share.tolist() for way, share in found.shares.items()},
        "opponents": opponents.tolist(),
    }


def question(fraction: int, seed: int) -> dict:
    names = ("epochs", "pool", "tests", "opponents", "nt_samples")
    same = {name: getattr(run, name) for name in names}
    return {**same, "pictures": len(train), "fraction": fraction, "seed": seed}


# %% [markdown]
# ## All networks

# %%
results = {}
for seed in run.seeds:
    for fraction in run.fractions:
        results[fraction, seed] = remembered(
            Path(run.cache) / f"shortcut_sweep-{len(train)}-{fraction}-{seed}.json",
            question(fraction, seed),
            partial(measure, fraction, seed),
        )
        print(f"{fraction} % of the dogs, seed {seed}: done", flush=True)


def numbers(name: str, fraction: int) -> torch.Tensor:
    """What was measured at a fraction: ``[seeds]``, or ``[seeds * test ships, opponents]``."""
    found = [results[fraction, seed] for seed in run.seeds]
    values = torch.tensor([of[name] if name in of else of["shares"][name] for of in found])
    return values.double() if values.dim() == 1 else values.double().flatten(0, 1)


FACTS = ("all", "dogs", "patched ships", "are dogs", "carry the square")
WAYS = list(results[run.fractions[0], run.seeds[0]]["shares"])
chance = float(square.double().mean())
ceiling = float(square.sum()) / round(0.1 * square.numel())

# %% [markdown]
# ## What came out

# %%
record = Record("Shortcut sweep", run.out, run)
record.say(
    f"{len(train)} training pictures of dog, ship and automobile; a red 5 x 5 square on so many "
    f"percent of the dogs; {len(run.seeds)} networks trained from scratch for each fraction "
    f"({run.epochs} epochs). Opponents of {run.tests} patched test ships a network, the "
    f"{run.opponents} strongest of {run.pool} random training pictures each. What a run measured "
    "before is read from its cache: in the run behind this page each network with its maps took "
    "about two minutes on one thread of a busy machine."
)
record.say("Accuracy on the test set, and who the opponents are (means over networks):")
record.table(
    ("% of dogs", "all", "dogs", "patched ships", "opponents: dogs", "with the square"),
    [
        (fraction, *(float(numbers(name, fraction).mean()) for name in FACTS))
        for fraction in run.fractions
    ],
)
record.say(
    f"Patch attribution fraction: mean over patched test ships, with its 95 % interval. Chance is "
    f"{chance:.3g}; the square is smaller than the top 10 %, so the most is {ceiling:.3g}."
)
record.table(
    ("% of dogs", *WAYS),
    [
        (fraction, *(interval(numbers(way, fraction).mean(1)) for way in WAYS))
        for fraction in run.fractions
    ],
)

# %% [markdown]
# Does it rise with the fraction? Spearman's correlation over the fractions says so for each seed.

# %%
order = torch.tensor(run.fractions).double()


def rise(way: str, seed: int) -> float:
    shares = [results[fraction, seed]["shares"][way] for fraction in run.fractions]
    means = torch.tensor(shares).double().mean((1, 2))
    return float(spearman(order[None], means[None]))


record.say("Spearman's correlation of the fraction of dogs and the patch attribution fraction:")
record.table(
    ("map", *(f"seed {seed}" for seed in run.seeds)),
    [(way, *(rise(way, seed) for seed in run.seeds)) for way in WAYS],
)

# %% [markdown]
# A mean over opponents can rise for two reasons: more opponents carry the square, or the map of
# one that does points more at it. So look at those alone that carry it.

# %%
record.say("The same for those pairs alone whose opponent carries the square, means over pairs:")
rows = []
for fraction in run.fractions:
    carry = numbers("carry the square", fraction) > 0
    if carry.any():
        means = [float(numbers(way, fraction)[carry].mean()) for way in WAYS]
        rows.append((fraction, int(carry.sum()), *means))
record.table(("% of dogs", "pairs", *WAYS), rows)

# %% [markdown]
# Own-label attribution knows nothing of the test ship, but a network that reads the square as
# "dog" makes it, too, point at the square. Does the influence add anything? Ship by ship, where
# most opponents carry the square:

# %%
learned = [
    fraction
    for fraction in run.fractions
    if float(numbers("carry the square", fraction).mean()) > 0.5
]


def of_ships(way: str) -> torch.Tensor:
    return torch.cat([numbers(way, fraction).mean(1) for fraction in learned])


if learned:
    record.say(
        f"Where more than half of the opponents carry the square ({learned[0]} % of the dogs and "
        "more): patch attribution fraction minus that of ordinary SmoothGrad of the training "
        "picture's own label, over patched ships and networks. Ships of one network are not "
        "independent, so the intervals are too narrow."
    )
    record.table(
        ("map", "minus own label, SmoothGrad"),
        [
            (way, paired_difference(of_ships(way), of_ships(WAYS[2]), lower_is_better=False))
            for way in WAYS[:2]
        ],
    )

# %%
figure, (left, middle, right) = plt.subplots(1, 3, figsize=(15, 4), layout="constrained")
for name, colour in (("all", "black"), ("dogs", "tab:orange"), ("patched ships", "tab:red")):
    values = torch.stack([numbers(name, fraction) for fraction in run.fractions])
    left.plot(order, values, color=colour, linewidth=0.6)
    left.plot(order, values.mean(1), color=colour, label=name)
left.set(title="(a) accuracy", xlabel="dogs trained with the square (%)", ylim=(0, 1))
for way in WAYS:
    bands = [interval(numbers(way, fraction).mean(1)) for fraction in run.fractions]
    mean, low, high = torch.tensor(bands).T
    middle.plot(order, mean, label=way)
    middle.fill_between(order, low, high, alpha=0.2)
middle.axhline(chance, color="grey", linestyle="dotted", label="chance")
middle.axhline(ceiling, color="grey", linestyle="dashed", label="the most that is possible")
middle.set(title="(b) patch attribution fraction", xlabel="dogs trained with the square (%)")
for name, label in (("are dogs", "are dogs"), ("carry the square", "carry the square")):
    values = [float(numbers(name, fraction).mean()) for fraction in run.fractions]
    right.plot(order, values, label=label)
right.set(title="(c) share of the opponents", xlabel="dogs trained with the square (%)")
for axis in (left, middle, right):
    axis.legend(fontsize=8, loc="upper center", bbox_to_anchor=(0.5, -0.15), ncols=2)
record.figure(
    figure,
    "curves",
    "The sweep. (a) Thick lines: mean over networks; thin lines: each of them. (b) Means over "
    "patched test ships with 95 % intervals.",
)

# %% [markdown]
# ## What it looks like
#
# A patched test ship, its strongest opponent, and the opponent's maps, at four fractions.

# %%
shown = [fraction for fraction in (0, 5, 50, 95) if fraction in run.fractions]
figure, axes = plt.subplots(len(shown), 4, figsize=(8, 2.1 * len(shown)), squeeze=False)
for line, fraction in zip(axes, shown, strict=True):
    seed = run.seeds[0]
    _, planted, model, ships = case(fraction, seed)
    ship = chosen(run.tests, torch.arange(len(ships)), seed)[0]
    opponent = results[fraction, seed]["opponents"][0][0]
    image, label = planted[opponent]
    see = ways(model, mean_colour(planted).view(-1, 1, 1))
    maps = see(image[None], torch.tensor([label]), ships[ship][0][None], torch.tensor([SHIP]))
    line[0].imshow(plain(ships, ship))
    line[0].set_title(f"{fraction} % of dogs: test", fontsize=8)
    line[1].imshow(plain(planted, opponent))
    line[1].set_title(f"opponent: {CLASSES[label]}", fontsize=8)
    for place, way in zip(line[2:], WAYS, strict=False):
        place.imshow(maps[way][0], cmap="inferno", vmax=float(maps[way].float().quantile(0.99)))
        place.set_title(way, fontsize=8)
    for place in line:
        place.set_axis_off()
record.figure(figure, "maps", "A patched test ship and its strongest opponent, at four fractions.")
record.save()
