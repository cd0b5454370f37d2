# %% [markdown]
# # How much noise, how many copies?
#
# A raw map is noisy, so the paper averages the maps of 50 noisy copies of the training image, with
# noise of 10 % of the image's range (bacha2025training, appendix C; smilkov2017smoothgrad). It
# shows pictures for other values. Here the two choices become numbers:
#
# - **n, the copies.** The mean of n maps estimates the map that infinitely many copies would give.
#   How far off is it, and how many copies bring it near?
# - **σ, the noise.** Another σ asks another question. How much does the answer change, and with
#   which σ does the map find the pixels that keep the score?
#
# Two ways to look at the gradient `M = ∂S/∂x` are compared: its size `Σ_c |M_c|`, as in the paper,
# and signed gradient × (input − mean colour), `Σ_c M_c (x_c − m_c)`.

# %%
import matplotlib.pyplot as plt
import torch
from tqdm.auto import tqdm

from captum_tfa import TrainingGradCos
from captum_tfa.metrics import saliency
from captum_tfa.metrics.controls import random_saliency
from captum_tfa.metrics.convergence import noise_grid
from captum_tfa.metrics.masked_influence import masked_influence
from captum_tfa.metrics.masking import mean_colour
from captum_tfa.metrics.perturbation import PerturbationTest
from captum_tfa.metrics.similarity import spearman
from common.networks import accuracy
from common.pairs import prepared, stacked, strongest
from common.record import Record, interval
from common.settings import settings

run = settings(
    data="cifar10",
    out="results",
    cache="tutorials-cache",
    epochs=10,
    pool_share=0.1,  # of the training set, held out: the images that are mapped
    pairs=50,  # test images, each with its strongest proponent
    levels=(0.02, 0.05, 0.1, 0.15, 0.2, 0.3),  # σ as a part of the image's max − min
    copies=(1, 2, 5, 10, 20, 50, 100, 200),  # n; the last is twice the one before
    seed=0,
)
half, most = run.copies[-2:]
usual = min(run.levels, key=lambda level: abs(level - 0.1))  # the paper's σ
record = Record("How much noise, how many copies", run.out, run)
train, pool, test, model = prepared(run)
colour = mean_colour(train).view(1, 3, 1, 1)

generator = torch.Generator().manual_seed(run.seed)
chosen = torch.randperm(len(test), generator=generator)[: run.pairs]
test_images, _ = stacked(test, chosen)
with torch.no_grad():
    predicted = model(test_images).argmax(1)
pairs = strongest(model, pool, test_images, predicted, count=1)
record.say(
    f"A small CNN trained on {len(train)} pictures, {accuracy(model, test):.1%} right on the test "
    f"set. {run.pairs} random test images, explained for what the network predicts, each with its "
    f"strongest proponent among {len(pool)} held-out pictures (grad-cos "
    f"{interval(pairs.scores)}). The noise is σ times the image's range max − min. Everything "
    "beyond the paper's own pictures is our finding."
)

# %% [markdown]
# ## Maps over σ and n
#
# `noise_grid` takes the largest n of noisy maps for each σ, keeps the means over the first n, and
# measures how much single maps vary. From that follows the error `r` of a mean relative to the
# map's own length: a mean over n copies and the map without sampling error have the cosine
# `1 / sqrt(1 + r²)`. The same noisy gradients serve both ways to look.

# %%
tfa = TrainingGradCos(model)
NAMES = ("size of the gradient", "gradient × (input − mean)")


def grids(index):
    """The grids of the gradient and of gradient × (input − mean) for one pair."""
    image, label = pairs.pool[[index]], pairs.pool_labels[[index]]
    side = (pairs.test[[index]], pairs.test_labels[[index]])
    seen = []

    def gradients(copies):
        seen.append(tfa.attribute(copies, target=label, additional_forward_args=side))
        return seen[-1]

    def products(copies):
        return (seen.pop(0) * (image - colour)).sum(1, keepdim=True)

    # A seed of its own for each pair; far from seeds that drew other things.
    choice = (run.levels, run.copies, 50, 1000 + index)
    return [noise_grid(attribute, image, *choice) for attribute in (gradients, products)]


def later(grid):
    """Means over the copies after the first `half`: independent of the means before, [σ, ...]."""
    return (most * grid.maps[:, -1] - half * grid.maps[:, -2]) / (most - half)


def cosines(first, second):
    return torch.cosine_similarity(first.flatten(-3), second.flatten(-3), dim=-1)


SHOWN = {NAMES[0]: saliency, NAMES[1]: lambda maps: maps.sum(-3)}  # the picture of a map
WANTED = (0.5, 0.3, 0.2, 0.1)
pictures, errors, needed, agreement = ({name: [] for name in NAMES} for _ in range(4))
measured, foretold, across = [], [], []
for index in tqdm(range(run.pairs), "pairs"):
    found = dict(zip(NAMES, grids(index), strict=True))
    for name, grid in found.items():
        shown, others = SHOWN[name](grid.maps), SHOWN[name](later(grid))
        pictures[name].append(shown)
        errors[name].append(grid.relative_error())
        needed[name].append(torch.stack([grid.copies_for(wanted) for wanted in WANTED], 1))
        columns = [spearman(shown[:, n], others) for n in range(len(run.copies) - 1)]
        agreement[name].append(torch.stack(columns, 1))
    raw = found[NAMES[0]]
    error = raw.relative_error()
    error_of_others = error[:, [-1]] * (most / (most - half)) ** 0.5
    measured.append(cosines(raw.maps[:, :-1], later(raw).unsqueeze(1)))
    foretold.append(((1 + error[:, :-1] ** 2) * (1 + error_of_others**2)) ** -0.5)
    across.append(cosines(raw.maps[:, None, -2], later(raw)[None, :]))

# One row a pair.
pictures = {name: torch.stack(found).float() for name, found in pictures.items()}  # [P, σ, n, H, W]
errors = {name: torch.stack(found) for name, found in errors.items()}  # [P, σ, n]
needed = {name: torch.stack(found) for name, found in needed.items()}  # [P, σ, wanted]
agreement = {name: torch.stack(found) for name, found in agreement.items()}  # [P, σ, n]
measured, foretold = torch.stack(measured), torch.stack(foretold)  # [P, σ, n]

# %% [markdown]
# ## n: the sampling error
#
# The law behind the error bars is checked first: the cosine of a mean over n copies with a mean
# over other copies, as measured and as `r` foretells it.

# %%
record.say("## n: how many copies")
record.say(
    "The sampling error `r` is the standard error of a mean map over all its values, relative to "
    "the map's length. It foretells the cosine between a mean over n copies and one over "
    f"{most - half} other copies; here for σ = {usual}, mean and 95 % interval over pairs:"
)
paper = run.levels.index(usual)
record.table(
    ["cosine", *(f"n = {n}" for n in run.copies[:-1])],
    [
        [what, *(interval(found[:, paper, n]) for n in range(len(run.copies) - 1))]
        for what, found in (("measured", measured), ("foretold", foretold))
    ],
)
for name in NAMES:
    table = errors[name].median(0).values
    record.say(f"Relative error `r` of the mean of n maps, **{name}**, median over pairs:")
    record.table(
        ["σ", *(f"n = {n}" for n in run.copies)],
        [[level, *map(float, row)] for level, row in zip(run.levels, table, strict=True)],
    )
for name in NAMES:
    record.say(f"Copies that a wanted error takes, **{name}**: median (90 % of pairs need fewer):")
    middle = needed[name].median(0).values
    nearly_all = needed[name].quantile(0.9, dim=0, interpolation="higher")
    record.table(
        ["σ", *(f"r = {wanted}" for wanted in WANTED)],
        [
            [level, *(f"{middle[s, w]:.0f} ({nearly_all[s, w]:.0f})" for w in range(len(WANTED)))]
            for s, level in enumerate(run.levels)
        ],
    )
for name in NAMES:
    record.say(
        f"Rank correlation of the picture from n copies with that from {most - half} *other* "
        f"copies, **{name}**, mean and 95 % interval over pairs:"
    )
    record.table(
        ["σ", *(f"n = {n}" for n in run.copies[:-1])],
        [
            [level, *(interval(agreement[name][:, s, n]) for n in range(len(run.copies) - 1))]
            for s, level in enumerate(run.levels)
        ],
    )

fig, axes = plt.subplots(1, 2, figsize=(10, 3.6), constrained_layout=True)
for axis, name in zip(axes, NAMES, strict=True):
    for s, level in enumerate(run.levels):
        colour_of = plt.get_cmap("viridis")(s / max(1, len(run.levels) - 1))
        middle = agreement[name].mean(0)[s]
        axis.plot(run.copies[:-1], middle, "o-", color=colour_of, label=f"σ = {level}")
    axis.set(xscale="log", xlabel="copies n", ylim=(0, 1), title=name)
axes[0].set_ylabel(f"rank correlation with\n{most - half} other copies")
axes[1].legend(fontsize=8)
record.figure(fig, "convergence", "How fast the picture settles, mean over pairs.")

# %% [markdown]
# ## What it looks like

# %%
best = int(pairs.scores.argmax())
some = (0, len(run.copies) // 2, len(run.copies) - 1)  # of the numbers of copies
image = pairs.pool[best] - pairs.pool[best].min()
fig, axes = plt.subplots(len(some), len(run.levels) + 1, figsize=(1.4 * len(run.levels) + 1.4, 4.6))
for row, n in zip(axes, some, strict=True):
    row[0].imshow((image / image.max()).permute(1, 2, 0).numpy())
    row[0].set_ylabel(f"n = {run.copies[n]}")
    for axis, level, picture in zip(
        row[1:], run.levels, pictures[NAMES[0]][best, :, n], strict=True
    ):
        axis.imshow(picture.numpy(), cmap="magma")
        axis.set_title(f"σ = {level}", fontsize=8)
for axis in axes.flat:
    axis.set(xticks=[], yticks=[])
record.figure(fig, "pictures", "Size of the gradient of one pair over σ and n.")

# %% [markdown]
# ## σ: another noise, another map
#
# The cosine between the gradient maps of two σ, from different copies, relative to the cosines
# that two halves of the same σ reach: 1 means the same map but for sampling error.

# %%
record.say("## σ: how much noise")
cosine = torch.stack(across).mean(0)
own = cosine.diagonal().clamp_min(1e-12).sqrt()
alike = cosine / (own[:, None] * own[None, :])
alike = (alike + alike.T) / 2
record.say(
    f"Cosine between the gradient maps of two σ, corrected for sampling error (mean over pairs "
    f"of the cosines between means over {half} copies each, divided by what the same σ reaches):"
)
record.table(
    ["σ", *map(str, run.levels)],
    [[level, *map(float, row)] for level, row in zip(run.levels, alike, strict=True)],
)

# %% [markdown]
# ## σ: which map finds the pixels that keep the score?
#
# Keep only the map's top pixels, fill the rest with the mean colour, and see how much of the score
# is left (`masked_influence`). The area under the curve over the kept share, less that of random
# pixels, is one number a pair. σ = 0 is the raw gradient.

# %%
FACTOR = {NAMES[0]: 1, NAMES[1]: pairs.pool - colour}
arguments = (model, pairs.pool, pairs.pool_labels, pairs.test, pairs.test_labels)
choice = {"baseline": colour.flatten(), "step_size": None, "seed": run.seed}
control = {
    block: masked_influence(*arguments, random_saliency(pairs.pool), block=block, **choice)
    for block in (1, 4)
}
plain_gradient = torch.cat(
    [
        tfa.attribute(
            pairs.pool[[i]],
            target=pairs.pool_labels[[i]],
            additional_forward_args=(pairs.test[[i]], pairs.test_labels[[i]]),
        )
        for i in range(run.pairs)
    ]
)
gains = {}  # (saliency, side of a cell, σ, n) -> gap of the area to random pixels
beyond = {}  # the same, to the map with the paper's σ and the most copies
for block in control:
    for name in NAMES:
        shown = {(0.0, 1): SHOWN[name](plain_gradient * FACTOR[name])}
        for s, level in enumerate(run.levels):
            for n in some[1:]:
                shown[level, run.copies[n]] = pictures[name][:, s, n]
        left = {
            key: masked_influence(*arguments, picture, block=block, **choice)
            for key, picture in shown.items()
        }
        for key, of_map in left.items():
            gains[(name, block, *key)] = PerturbationTest(of_map, control[block]).score_area()
            beyond[(name, block, *key)] = PerturbationTest(of_map, left[usual, most]).score_area()

record.say("### Which σ keeps the score")
for block in control:
    record.say(
        f"Score kept by the map's top (area under the insertion curve), in cells of {block} × "
        f"{block} pixels, less that of random cells, and less that of the map with σ = {usual} and "
        f"n = {most}: mean and 95 % interval over pairs."
    )
    rows = []
    for level, copies in [key[2:] for key in gains if key[:2] == (NAMES[0], block)]:
        cells = []
        for name in NAMES:
            for gap in (gains[name, block, level, copies], beyond[name, block, level, copies]):
                cells.append(f"{gap.mean:.3f} [{gap.low:.3f}, {gap.high:.3f}]")
        rows.append([level, copies, *cells])
    header = [f"{name}, less {what}" for name in NAMES for what in ("random", f"σ = {usual}")]
    record.table(["σ", "n", *header], rows)

fig, axes = plt.subplots(1, 2, figsize=(10, 3.4), constrained_layout=True, sharey=True)
for axis, block in zip(axes, control, strict=True):
    for shift, name in zip((-0.002, 0.002), NAMES, strict=True):  # bars beside each other
        keys = [key for key in gains if key[:2] == (name, block) and key[3] in (1, most)]
        found = [gains[key] for key in keys]
        bars = [[g.mean - g.low for g in found], [g.high - g.mean for g in found]]
        places = [key[2] + shift for key in keys]
        axis.errorbar(places, [g.mean for g in found], bars, fmt="o-", label=name)
    axis.axhline(0, color="grey", lw=0.8)
    axis.set(xlabel=f"σ (n = {most}; one raw map at 0)", title=f"cells of {block} × {block} pixels")
axes[0].set_ylabel("score kept, area\nabove random")
axes[0].legend(fontsize=8)
record.figure(fig, "insertion", "Which σ finds the pixels that keep the score.")

# %% [markdown]
# ## In short

# %%
record.say("## In short")
for name in NAMES:
    error = errors[name][:, paper].median(0).values
    for n in (len(run.copies) - 3, len(run.copies) - 1):
        record.say(
            f"- {name}, σ = {usual}, n = {run.copies[n]}: median error r = {float(error[n]):.2f}, "
            f"so a cosine of {float((1 + error[n] ** 2) ** -0.5):.2f} with the map of infinitely "
            "many copies."
        )
    enough = []
    for s_of, level in enumerate(run.levels):
        good = agreement[name][:, s_of].mean(0) >= 0.8
        first = run.copies[int(good.int().argmax())] if bool(good.any()) else f"over {half}"
        enough.append(f"{first} (σ = {level})")
    record.say(
        f"- {name}: copies for a rank correlation of 0.8 with other copies: {', '.join(enough)}."
    )
for block in control:
    for name in NAMES:
        level = max(run.levels, key=lambda level: gains[name, block, level, most].mean)
        record.say(
            f"- {name}, cells of {block} × {block}: most score kept at σ = {level}; less σ = "
            f"{usual}: {beyond[name, block, level, most]}. The best of {len(run.levels)} is "
            "chosen on these same pairs."
        )
record.save()
