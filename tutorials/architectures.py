# %% [markdown]
# # The same pictures, other architectures
#
# Does a map show the training picture, or the network that read it? The paper
# (bacha2025training, appendix D.2) compares a ResNet-18, a ResNet-50 and a ViT-B/16 and sees
# two things in their maps:
#
# 1. those of the vision transformer have a visible patch structure, and often look uniform within
#    a patch;
# 2. those of the deeper residual network are slightly less sensitive to noise.
#
# Here both become numbers, and three more architectures stand beside: a second patch size, ConvNeXt
# and Swin, which cut the picture into patches, too. All see the same training pictures; the same
# pairs of pictures are mapped with the same noise.
#
# The full run trains small networks from scratch, which takes a quarter of an hour on one core.
# With ImageNet's weights, as in the paper:
# `--pretrained --networks resnet18 resnet50 vit_b_16 --data DIR`, where DIR holds
# `train/<class>/*` and `val/<class>/*` photographs.

# %%
import matplotlib.pyplot as plt
import torch

from captum_tfa import TrainingGradCos
from captum_tfa.demo import train_classifier
from captum_tfa.metrics.localisation import saliency
from captum_tfa.metrics.similarity import spearman
from common.data import cifar10, photographs, plain, subset_of_classes
from common.fine_tuning import fine_tuned
from common.maps import copies_maps, show_map, show_picture
from common.networks import accuracy, kept
from common.patch_structure import border_steps, repeated_share
from common.record import Record, interval
from common.settings import settings
from common.small_architectures import PATCH, small_network

run = settings(
    data="cifar10",
    out="results",
    cache="tutorials-cache",
    networks=("resnet_8", "resnet_26", "vit_4", "vit_8", "convnext", "swin"),
    pretrained=False,  # torchvision's networks, fine-tuned on photographs
    classes=("automobile", "bird", "horse", "ship"),  # of CIFAR-10
    images=8000,  # to train on, of CIFAR-10
    epochs=6,
    learning_rate=2e-3,
    pairs=24,
    samples=50,  # noisy copies
    few=10,  # of them, for the question of noise
    noise=0.1,  # deviation of the noise, as a part of the picture's range
    seed=0,
)
record = Record("Six architectures, the same pictures", run.out, run)
patch_of = {**PATCH, "vit_b_16": 16, "vit_b_32": 32, "convnext_tiny": 4, "swin_t": 4}

# %% [markdown]
# ## Networks

# %%
draw = torch.Generator().manual_seed(run.seed)
if run.pretrained:
    train, test = photographs(run.data, "train"), photographs(run.data, "val")
else:
    train, test = (
        subset_of_classes(cifar10(run.data, side, run.cache), run.classes) for side in (True, False)
    )
    train = train.part(torch.randperm(len(train), generator=draw)[: run.images].tolist())


def network(name):
    if run.pretrained:
        return fine_tuned(name, train, run.cache, run.epochs, seed=run.seed)
    key = f"{name}-{'-'.join(train.classes)}-{len(train)}-{run.epochs}-{run.learning_rate:g}"
    torch.manual_seed(run.seed)
    return kept(
        f"{run.cache}/{key}-{run.seed}.safetensors",
        small_network(name, len(train.classes), train.images.shape[-1]),
        lambda new: train_classifier(new, train, run.epochs, 64, run.learning_rate, run.seed),
    )


networks = {name: network(name) for name in run.networks}
right = {name: accuracy(model, test) for name, model in networks.items()}
record.say(
    f"Trained on the same {len(train)} pictures of {', '.join(train.classes)}; "
    f"accuracy on {len(test)} test pictures:"
)
record.table(
    ["network", "parameters", "patch", "accuracy"],
    [
        [
            name,
            f"{sum(p.numel() for p in model.parameters()):,}",
            patch_of.get(name, "none"),
            right[name],
        ]
        for name, model in networks.items()
    ],
)

# %% [markdown]
# ## Maps
#
# A pair is a test picture and a training picture of its class, both drawn at random: no network
# had a say in the choice. Noisy copies are kept apart for now: their mean is the SmoothGrad map.

# %%
tests = torch.randperm(len(test), generator=draw)[: run.pairs].tolist()
of_class = [(train.labels == label).nonzero().flatten() for label in range(len(train.classes))]
trains = []
for index in tests:
    same = of_class[int(test.labels[index])]
    trains.append(int(same[torch.randint(len(same), (1,), generator=draw)]))

maps, few_maps, other_maps = {}, {}, {}
for name, model in networks.items():
    method = TrainingGradCos(model)
    found = []
    for pair, (a, b) in enumerate(zip(trains, tests, strict=True)):
        noise_seed = run.seed + pair
        copies = copies_maps(method, train[a], test[b], run.samples, run.noise, noise_seed)[0]
        found.append([copies.mean(0), copies[: run.few].mean(0), copies[run.few :].mean(0)])
    maps[name], few_maps[name], other_maps[name] = map(torch.stack, zip(*found, strict=True))
saliencies = {name: saliency(values) for name, values in maps.items()}

# %%
shown = range(min(4, run.pairs))
fig, axes = plt.subplots(
    len(shown),
    2 + len(networks),
    figsize=(1.5 * (2 + len(networks)), 1.7 * len(shown)),
    squeeze=False,
)
for row, pair in enumerate(shown):
    train_picture, test_picture = plain(train, trains[pair]), plain(test, tests[pair])
    show_picture(axes[row, 0], test_picture, "test")
    show_picture(axes[row, 1], train_picture, "training")
    for column, name in enumerate(networks):
        show_map(axes[row, 2 + column], train_picture, saliencies[name][pair], name)
fig.tight_layout()
record.figure(
    fig,
    "maps",
    "A test picture, a training picture of its class, and where that matters for the test picture, "
    "by architecture. Saliency is the sum of |map| over colours.",
)

# %% [markdown]
# ## Do patches show?
#
# **Steps at borders:** differences between neighbouring pixels that lie in two patches, over those
# between neighbours in one patch. 1 means that the grid leaves no trace; far above 1, that the map
# is uniform within patches. **Repeated:** the share of the saliency's variance that is the same
# pattern in every patch. It is the share of the spectral energy at multiples of the patch's
# frequency. Each grid is also laid over the maps of the networks that do not have it.

# %%
grids = sorted({patch_of[name] for name in networks if name in patch_of})
if grids:
    record.say("## Do patches show?")
for patch in grids:
    record.say(
        f"With a grid of {patch} x {patch} pixels (mean over {run.pairs} pairs, 95 % interval):"
    )
    record.table(
        ["network", "its patch", "steps at borders / inside", "repeated in every patch"],
        [
            [
                name,
                patch_of.get(name, "none"),
                interval(border_steps(values, patch)),
                interval(repeated_share(values, patch)),
            ]
            for name, values in saliencies.items()
        ],
    )

# %% [markdown]
# ## Which maps need fewer noisy copies?
#
# The map from a few copies against the map from all the others. Rank correlation 1 means that the
# few were enough.

# %%
record.say("## Which maps need fewer noisy copies?")
agreement = {
    name: spearman(saliency(few_maps[name]), saliency(other_maps[name])) for name in networks
}
record.say(
    f"Rank correlation of the saliency from {run.few} noisy copies with that from the other "
    f"{run.samples - run.few}, and the same of the signed maps:"
)
record.table(
    ["network", "saliency", "signed map"],
    [
        [name, interval(agreement[name]), interval(spearman(few_maps[name], other_maps[name]))]
        for name in networks
    ],
)
if {"resnet_8", "resnet_26"} <= networks.keys():
    gain = interval(agreement["resnet_26"] - agreement["resnet_8"])
    record.say(f"The deeper residual network minus the shallow one, pair by pair: {gain}.")

# %% [markdown]
# ## Do architectures agree?
#
# Rank correlation of the saliencies of the same pair by two networks. All maps have something in
# common, if only that the middle of a picture matters more: what counts is how much more alike two
# maps of the same pair are than maps of two pairs.

# %%
record.say("## Do architectures agree on a pair?")
rows = []
for one in networks:
    cells = [one]
    for other in networks:
        same = spearman(saliencies[one], saliencies[other])
        crossed = spearman(saliencies[one], saliencies[other].roll(1, dims=0))
        cells.append("" if one == other else f"{same.mean():.2f} ({crossed.mean():.2f})")
    rows.append(cells)
record.say(
    "Mean rank correlation of saliencies of the same pair (in brackets: of one network's pair with "
    "the other network's next pair):"
)
record.table(["", *networks], rows)
record.save()
