# %% [markdown]
# # Layer by layer
#
# The gradient of a score can be taken at the activation of any layer instead of at the pixels:
# `LayerTrainingGradCos`. The map is the mean over the layer's channels, brought to the size of the
# picture (appendix D.1 of the paper, bacha2025training). The paper looks at such maps of a
# ResNet-18 and sees that
#
# 1. deeper layers give smoother maps, "expected since the maps are obtained by upsampling";
# 2. the highlighted object stays the same across layers and in the pixel map;
# 3. in the last layer the most salient pixels extend over a larger part of the picture.
#
# Here each becomes a number, over pairs of a test photograph and its top proponent. Upsampling
# alone makes maps smooth and wide. So every number is taken twice: from the maps as one sees them,
# and with all maps first averaged down to the grid of the deepest layer.

# %%
import matplotlib.pyplot as plt
import torch
from torch.nn.functional import adaptive_avg_pool2d, interpolate

from captum_tfa import GradCosScore, LayerTrainingGradCos, ScoreInfluence, TrainingGradCos
from captum_tfa.metrics.similarity import spearman
from common.data import photographs, plain
from common.fine_tuning import fine_tuned
from common.maps import copies_maps, show_map, show_picture
from common.networks import accuracy
from common.record import Record, interval
from common.settings import settings

run = settings(
    data="hymenoptera_data",
    out="results",
    cache="tutorials-cache",
    network="resnet18",
    layers=("layer1", "layer2", "layer3", "layer4"),  # from shallow to deep, names in the network
    side=224,
    epochs=5,
    tests=16,  # test photographs
    samples=20,  # noisy copies
    noise=0.1,  # their deviation, as a part of the picture's range
    seed=0,
)
record = Record("Layer by layer", run.out, run)

# %% [markdown]
# ## The network and the pairs
#
# The same as in `pixel_maps.py`.

# %%
train, test = photographs(run.data, "train", run.side), photographs(run.data, "val", run.side)
model = fine_tuned(run.network, train, run.cache, run.epochs, seed=run.seed)
draw = torch.Generator().manual_seed(run.seed)
asked = torch.randperm(len(test), generator=draw)[: run.tests].tolist()
test_images = torch.stack([test[index][0] for index in asked])
influence = ScoreInfluence(GradCosScore(model), train, batch_size=16)
proponents = influence.influence((test_images, test.labels[asked])).argmax(dim=1).tolist()
record.say(
    f"Network: {run.network}, pretrained on ImageNet, fine-tuned on {len(train)} photographs of "
    f"{' and '.join(train.classes)}; {accuracy(model, test):.1%} right on {len(test)} test "
    f"photographs. {len(asked)} random test photographs, each with its top proponent by grad-cos."
)

# %% [markdown]
# ## Maps of all layers at once
#
# One pass gives the maps of all layers. The pixel map sums `|map|` over colours; a layer's map is
# the mean over channels, and its size without sign counts.

# %%
places = ["pixels", *run.layers]
of_pixels = TrainingGradCos(model)
of_layers = LayerTrainingGradCos(model, [model.get_submodule(name) for name in run.layers])
found = {place: [] for place in places}  # saliencies [h, w] at the layer's own size
for pair, (a, b) in enumerate(zip(proponents, asked, strict=True)):
    options = (train[a], test[b], run.samples, run.noise, run.seed + pair)
    found["pixels"].append(copies_maps(of_pixels, *options)[0].mean(0).abs().sum(0))
    for name, copies in zip(run.layers, copies_maps(of_layers, *options), strict=True):
        found[name].append(copies.mean(0).mean(0).abs())
saliencies = {place: torch.stack(values) for place, values in found.items()}

# Two common sizes: as seen over the picture, and the grid of the deepest layer.
grid = saliencies[run.layers[-1]].shape[1:]
seen = {
    place: interpolate(values[:, None], (run.side, run.side), mode="bilinear")[:, 0]
    for place, values in saliencies.items()
}
coarse = {place: adaptive_avg_pool2d(values, grid) for place, values in saliencies.items()}

# %%
shown = range(min(4, len(asked)))
fig, axes = plt.subplots(
    len(shown),
    2 + len(places),
    figsize=(1.6 * (2 + len(places)), 1.8 * len(shown)),
    squeeze=False,
)
for row in shown:
    picture = plain(train, proponents[row])
    show_picture(axes[row, 0], plain(test, asked[row]), "test")
    show_picture(axes[row, 1], picture, "top proponent")
    for column, place in enumerate(places):
        size = "x".join(map(str, saliencies[place].shape[1:]))
        show_map(axes[row, 2 + column], picture, seen[place][row], f"{place}, {size}")
fig.tight_layout()
record.figure(
    fig,
    "maps",
    "Test photograph, its top proponent, and where that matters: at the pixels and at layers from "
    "shallow to deep.",
)

# %% [markdown]
# ## Smoother, and wider?
#
# **Roughness:** the mean step between neighbours over the standard deviation of the saliency.
# **Area of half the mass:** the smallest share of the picture that holds half of all saliency; at
# most 0.5.


# %%
def roughness(values):
    steps = torch.cat([values.diff(dim=1).abs().flatten(1), values.diff(dim=2).abs().flatten(1)], 1)
    return steps.mean(1) / values.flatten(1).std(1)


def half_mass_area(values):
    falling = values.flatten(1).sort(dim=1, descending=True).values
    held = falling.cumsum(1) / falling.sum(1, keepdim=True)
    return ((held < 0.5).sum(1) + 1) / held.shape[1]


record.say("## Smoother, and wider?")
record.say(
    f"Means over {len(asked)} pairs with 95 % intervals; on the grid of {grid[0]} x {grid[1]}:"
)
record.table(
    [
        "layer",
        "size",
        "roughness as seen",
        "roughness on the grid",
        "area of half the mass as seen",
        "area of half the mass on the grid",
    ],
    [
        [
            place,
            "x".join(map(str, saliencies[place].shape[1:])),
            interval(roughness(seen[place])),
            interval(roughness(coarse[place])),
            interval(half_mass_area(seen[place])),
            interval(half_mass_area(coarse[place])),
        ]
        for place in places
    ],
)
wider = half_mass_area(coarse[places[-1]]) - half_mass_area(coarse[places[-2]])
record.say(f"Last layer minus the one before, area on the grid, paired: {interval(wider)}.")

# %% [markdown]
# ## The same object?
#
# Rank correlation of two layers' maps of the same pair on the common grid. Photographs have their
# object near the middle, so maps of *different* pairs agree a little, too: only what is above that
# says that the layers highlight the same object.

# %%
record.say("## The same object?")
rows = []
steps = [*zip(places[1:], places[:-1], strict=True)]
steps += [(place, "pixels") for place in places[2:]]
for one, other in steps:
    same = spearman(coarse[one], coarse[other])
    strangers = torch.stack(
        [spearman(coarse[one], coarse[other].roll(shift, dims=0)) for shift in range(1, len(asked))]
    ).mean(0)
    rows.append([f"{one} and {other}", interval(same), interval(strangers)])
    rows[-1].append(interval(same - strangers))
record.say(
    f"Rank correlation of saliencies on the grid of {grid[0]} x {grid[1]}, mean over pairs with "
    "95 % interval:"
)
record.table(["layers", "same pair", "different pairs", "difference, paired"], rows)
record.save()
