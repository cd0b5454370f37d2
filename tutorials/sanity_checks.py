# %% [markdown]
# # Sanity checks of the maps
#
# A map may look right and yet say nothing about what the model has learned: some saliency methods
# give much the same picture for a model with random weights (adebayo2018sanity). Two questions:
#
# 1. Random weights, layer by layer: do the maps of training images change?
# 2. Random labels: does a network that has learned permuted labels by heart give other maps?
#
# The paper names these tests and does not run them. Three ways to a picture of a training image
# are compared: the size of the paper's map; signed gradient × (input − mean colour); ordinary
# SmoothGrad of the training image's own label, which never sees the test image; and a second map
# (`--method`) of a second score (`--score`), the cosine with curvature. Curvature belongs to a
# network, so it is fitted anew for each one with other weights.

# %%
from dataclasses import astuple

import matplotlib.pyplot as plt
import torch
from tqdm.auto import tqdm

from captum_tfa import GradCosScore, ScoreInfluence, TrainingGradCos
from captum_tfa.demo import SmallCNN, train_classifier
from captum_tfa.metrics import saliency
from captum_tfa.metrics.controls import own_label_gradient
from captum_tfa.metrics.masking import mean_colour
from captum_tfa.metrics.paired import paired_difference
from captum_tfa.metrics.randomisation import PermutedLabels, parameter_randomisation
from captum_tfa.metrics.similarity import MapSimilarity, compare_maps
from common.maps import smooth_map
from common.networks import accuracy, kept
from common.pairs import prepared, stacked, strongest, trained
from common.record import Record, interval
from common.rivals import RIVAL_METHOD, RIVAL_SCORE, Maps, unkept_score
from common.settings import settings

run = settings(
    data="cifar10",
    out="results",
    cache="tutorials-cache",
    epochs=10,
    pool_share=0.1,  # of the training set, held out: the images that are mapped
    pairs=50,  # test images, each with its strongest proponent
    noise_copies=25,
    noise_level=0.1,  # σ as a part of the image's max − min
    label_images=1000,  # learned by heart, once with their own labels, once with permuted ones
    label_epochs=70,
    score=RIVAL_SCORE,
    method=RIVAL_METHOD,
    fitted=500,  # training images to which its curvature is fitted, for every network
    seed=0,
)
record = Record("Sanity checks of the maps", run.out, run)
train, pool, test, model = prepared(run)
colour = mean_colour(train).view(1, 3, 1, 1)

generator = torch.Generator().manual_seed(run.seed)
chosen = torch.randperm(len(test), generator=generator)
test_images, _ = stacked(test, chosen[: run.pairs])


def predictions(model, images):
    with torch.no_grad():
        return torch.cat([model(part).argmax(1) for part in images.split(250)])


pairs = strongest(model, pool, test_images, predictions(model, test_images), count=1)
record.say(
    f"A small CNN trained on {len(train)} pictures, {accuracy(model, test):.1%} right on the test "
    f"set. {run.pairs} random test images, explained for what the network predicts, each with its "
    f"strongest proponent among {len(pool)} held-out pictures. Every map is the mean over "
    f"{run.noise_copies} noisy copies, with the same noise for every network. Brackets hold 95 % "
    "intervals over pairs. The paper runs none of these checks: all of this page is our finding."
)

# %% [markdown]
# ## The maps
#
# One call gives the maps of all four methods, one after the other. Summed over channels, gradient
# × (input − mean) is one signed number a pixel; written three times, it keeps its ranks.

# %%
RIVAL = f"{run.method}, {run.score}"
METHODS = (
    "size of the gradient",
    "gradient × (input − mean)",
    "SmoothGrad of the own label",
    RIVAL,
)


def maps(model, pairs, seed=run.seed, learned=train):
    """Maps [4 P, 3, H, W] of P pairs, by each method."""
    tfa = TrainingGradCos(model)
    choice = (run.noise_copies, run.noise_level, seed)
    gradients = [
        smooth_map(tfa, (image, int(label)), (test_image, int(test_label)), *choice)
        for image, label, test_image, test_label in zip(*pairs[:4], strict=True)
    ]
    gradient = torch.stack(gradients)
    own = own_label_gradient(model, pairs.pool, pairs.pool_labels, *choice)
    score = unkept_score(run.score, model, learned, run.fitted)
    sides = ((pairs.pool, pairs.pool_labels), (pairs.test, pairs.test_labels))
    second = Maps(run.method, colour.flatten(), *choice).of(score, *sides)
    return one_after_the_other(gradient, own.unsqueeze(1), second, pairs.pool)


def one_after_the_other(gradient, own, second, images):
    signed = [(gradient * (images - colour)).sum(1, keepdim=True), own, second.sum(1, keepdim=True)]
    return torch.cat([gradient, *(part.expand_as(gradient) for part in signed)])


def by_method(found):
    """The similarities of `maps`, apart for each method."""
    rows = [numbers.view(len(METHODS), -1) for numbers in astuple(found)]
    return {name: MapSimilarity(*(row[i] for row in rows)) for i, name in enumerate(METHODS)}


def shown(found):
    return [str(interval(numbers)) for numbers in astuple(found)]


# %% [markdown]
# ## 1. Random weights
#
# Blocks of the network lose their weights from the output down to the input, and stay random
# (cascading), or one block alone does (independent). Three controls say what to expect. The same
# network with other noise is the most that can be reached. The maps of another pair are what the
# method's usual look alone gives. And white noise in the place of the gradient shows what the
# factor (input − mean) does by itself: the picture, which no random weights can remove.

# %%
blocks = [
    name
    for name, block in reversed(list(model.named_children()))
    if next(block.parameters(), None) is not None
]
drawn = []


def drawn_maps(model):
    drawn.append(maps(model, pairs))
    return drawn[-1]


rows = {}  # (mode, row) -> similarity by method
for mode, cascading in (("cascading", True), ("independent", False)):
    found = parameter_randomisation(model, drawn_maps, cascading, blocks, run.seed)
    for name, similarity in tqdm(found, mode, len(blocks)):
        rows[mode, name] = by_method(similarity)
trained_maps, cascade = drawn[0], drawn[: 1 + len(blocks)]
ceiling = by_method(compare_maps(maps(model, pairs, run.seed + 1), trained_maps))
turned = torch.cat([part.roll(1, 0) for part in trained_maps.chunk(len(METHODS))])
floor = by_method(compare_maps(turned, trained_maps))
white = torch.randn(pairs.pool.shape, generator=torch.Generator().manual_seed(run.seed + 3))
no_gradient = one_after_the_other(
    white, saliency(white).unsqueeze(1), white * (pairs.pool - colour), pairs.pool
)
noise_only = by_method(compare_maps(no_gradient, trained_maps))

record.say("## 1. Random weights")
record.say(
    "Similarity of the maps to the trained network's: rank correlation of the signed values, rank "
    "correlation of the sizes summed over channels, and structural similarity of these. Block "
    f"{blocks[0]} is the output layer, block {blocks[-1]} the first convolution. For the own label "
    "the map has no sign."
)
for name in METHODS:
    record.say(f"**{name}**")
    table = [
        ["same network, other noise", *shown(ceiling[name]), *[""] * 3],
        ["another pair's map", *shown(floor[name]), *[""] * 3],
        ["white noise for the gradient", *shown(noise_only[name]), *[""] * 3],
    ]
    for block in blocks:
        cells = [shown(rows[mode, block][name]) for mode in ("cascading", "independent")]
        table.append([f"block {block} random", *cells[0], *cells[1]])
    record.table(
        [
            "network",
            *(f"{mode}: {n}" for mode in ("cascading", "alone") for n in ("rank", "size", "SSIM")),
        ],
        table,
    )

fig, axes = plt.subplots(2, 3, figsize=(11, 5.4), sharex=True, sharey=True, constrained_layout=True)
for row, mode in zip(axes, ("cascading", "independent"), strict=True):
    for axis, (number, title) in zip(
        row,
        (("rank", "rank, signed"), ("rank_absolute", "rank, sizes"), ("ssim", "SSIM")),
        strict=True,
    ):
        for colour_of, name in zip(("C0", "C1", "C2", "C3"), METHODS, strict=True):
            means = [float(getattr(rows[mode, b][name], number).mean()) for b in blocks]
            axis.plot(["trained", *blocks], [1, *means], "o-", color=colour_of, label=name)
            for control, style in ((floor, ":"), (noise_only, "--")):
                mean = float(getattr(control[name], number).mean())
                axis.axhline(mean, color=colour_of, ls=style, lw=1)
        axis.set_title(f"{title}, {mode}", fontsize=9)
axes[0, 0].legend(fontsize=7)
for axis in axes[1]:
    axis.set_xlabel("block that is made random")
record.figure(
    fig,
    "weights",
    "Similarity to the trained network's maps. Dotted: the maps of another pair; dashed: white "
    "noise in the place of the gradient.",
)

best = int(pairs.scores.argmax())
columns = ["picture", "trained", *(f"… {name}" for name in blocks)]
fig, axes = plt.subplots(4, len(columns), figsize=(1.35 * len(columns), 5.7))
for method, row in enumerate(axes):
    picture = pairs.pool[best] - pairs.pool[best].min()
    row[0].imshow((picture / picture.max()).permute(1, 2, 0).numpy())
    for axis, found in zip(row[1:], cascade, strict=True):
        one = found.view(len(METHODS), -1, *found.shape[1:])[method, best]
        if method in (1, 3):
            one = one[0]  # the same in each channel
            most = float(one.abs().max())
            axis.imshow(one.numpy(), cmap="bwr", vmin=-most, vmax=most)
        else:
            axis.imshow(saliency(one).numpy(), cmap="magma")
for axis, title in zip(axes[0], columns, strict=True):
    axis.set_title(title, fontsize=8)
for axis in axes.flat:
    axis.set(xticks=[], yticks=[])
for row, name in zip(axes, METHODS, strict=True):
    label = name.replace(" of", "\nof").replace(" × ", "\n× ").replace(", ", ",\n")
    row[0].set_ylabel(label.replace("_norm", "\n_norm"), fontsize=6)
record.figure(fig, "pictures", "One pair's maps as blocks become random from the output on.")

# %% [markdown]
# ## 2. Random labels
#
# Three networks learn the same few pictures by heart: with their labels; with their labels, but
# from other initial weights and in another order; and with labels in a random order. The pairs are
# the first network's strongest ones among the pictures that all three have learned. A network is
# asked with the training labels that it was taught, and all for what the first one predicts.

# %%
few = train.part(range(run.label_images))
first = trained(few, run.label_epochs, run.seed, run.cache)
second = trained(few, run.label_epochs, run.seed + 1, run.cache)
permuted = PermutedLabels(few, run.seed)
wrong = torch.tensor([permuted[index][1] for index in range(len(permuted))])
torch.manual_seed(run.seed + 1)
third = kept(
    f"{run.cache}/small-cnn-{len(few)}-permuted-{run.label_epochs}-epochs-seed-{run.seed}"
    ".safetensors",
    SmallCNN(len(train.classes)),
    lambda new: train_classifier(new, permuted, run.label_epochs, 128, seed=run.seed + 1),
)
torch.manual_seed(run.seed + 2)
untrained = SmallCNN(len(train.classes)).eval()

asked = predictions(first, test_images)
influence = ScoreInfluence(GradCosScore(first), few, batch_size=250)
top = influence.influence((test_images, asked), k=1).indices.flatten()
images, _ = stacked(few, top)


def learned_maps(network, labels, lessons=few):
    own = pairs._replace(pool=images, pool_labels=labels[top], test_labels=asked)
    return maps(network, own, learned=lessons)


reference = learned_maps(first, few.labels)
labels_found = {
    "own labels, other seed": by_method(compare_maps(learned_maps(second, few.labels), reference)),
    "permuted labels": by_method(compare_maps(learned_maps(third, wrong, permuted), reference)),
    "untrained": by_method(compare_maps(learned_maps(untrained, few.labels), reference)),
}
fits = {
    "own": (accuracy(first, few), accuracy(first, test)),
    "own, other seed": (accuracy(second, few), accuracy(second, test)),
    "permuted": (accuracy(third, permuted), accuracy(third, test)),
}
record.say("## 2. Random labels")
record.say(
    f"{len(few)} pictures, {run.label_epochs} epochs. Right on what was learned, and on the test "
    "set: " + "; ".join(f"{name} {on:.1%}, {off:.1%}" for name, (on, off) in fits.items()) + "."
)
for name in METHODS:
    record.say(f"**{name}**: similarity to the maps of the network that learned the own labels")
    record.table(
        ["network", "rank", "size", "SSIM"],
        [[row, *shown(found[name])] for row, found in labels_found.items()],
    )
    loss = paired_difference(
        labels_found["permuted labels"][name].rank_absolute,
        labels_found["own labels, other seed"][name].rank_absolute,
    )
    record.say(
        f"Permuted labels less another seed, rank correlation of the sizes: {loss.mean:.3f} "
        f"[{loss.low:.3f}, {loss.high:.3f}]; lower in {loss.won:.0%} of pairs."
    )

# %% [markdown]
# ## In short

# %%
record.say("## In short")
record.say(
    "Rank correlation with the trained network's maps, signed values / sizes, mean over pairs:"
)
cases = {
    "other noise": ceiling,
    "random output layer": rows["cascading", blocks[0]],
    "random throughout": rows["cascading", blocks[-1]],
    "another pair": floor,
    "white noise": noise_only,
    "same labels, other seed": labels_found["own labels, other seed"],
    "permuted labels": labels_found["permuted labels"],
}
record.table(
    ["map", *cases],
    [
        [
            name,
            *(
                f"{found[name].rank.mean():.2f} / {found[name].rank_absolute.mean():.2f}"
                for found in cases.values()
            ),
        ]
        for name in METHODS
    ],
)
for name in METHODS:
    last = rows["cascading", blocks[-1]][name]
    gaps = []
    for number, what in (("rank", "signed"), ("rank_absolute", "sizes"), ("ssim", "SSIM")):
        controls = [getattr(found[name], number) for found in (floor, noise_only)]
        highest = max(controls, key=lambda values: float(values.mean()))
        gaps.append(f"{what} {interval(getattr(last, number) - highest)}")
    record.say(
        f"- {name}: likeness that is left with random weights throughout, beyond the higher of the "
        f"two controls (another pair, white noise): {', '.join(gaps)}. Nothing should be left."
    )
record.save()
