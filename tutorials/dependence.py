# %% [markdown]
# # The map moves with the test image
#
# A training image shows a horse and a ship. Which half of it matters for a test image with a
# horse, and which for a test image with a ship? The paper shows two pictures of such a case
# (bacha2025training, section 4.2): with a multi-label loss, the same training image gets different
# maps for different test images. Here this becomes a number.
#
# Mosaics of CIFAR-10 pictures are the data, so that for every pixel the class is known. A small
# network learns to name all classes of a mosaic, with one yes or no a class. Then each of some
# hundred *training* mosaics is mapped once for each of its classes: the test mosaic shows a new
# picture of that class beside pictures of classes that the training mosaic does not show. Those
# are the same for all of its tests, so that only the asked class changes.

# %%
import matplotlib.pyplot as plt
import torch
from captum.attr import Saliency
from torch import nn

from captum_tfa import (
    GradCosScore,
    SmoothGrad,
    TrainingGradient,
    TrainingIntegratedGradients,
    TrainingOcclusion,
)
from captum_tfa.demo import SmallCNN
from captum_tfa.metrics.localisation import positive_mass
from captum_tfa.metrics.masking import mean_colour
from captum_tfa.metrics.mosaics import grid_pointing_game, make_mosaics, tiled
from common.data import cifar10
from common.multi_label import MultiLabelPictures, train_multi_label
from common.networks import kept
from common.readings import grad_cam
from common.record import Record, interval
from common.rivals import RIVAL_METHOD, RIVAL_SCORE, Maps, score_named
from common.settings import settings

run = settings(
    data="cifar10",
    out="results",
    cache="tutorials-cache",
    rows=1,
    columns=2,
    mosaics=25_000,  # training set
    epochs=12,
    learning_rate=4e-3,
    maps=200,  # training mosaics that are mapped
    fresh=80,  # further ones for the last section
    unseen=1000,  # test mosaics that say how good the network is
    noise_copies=30,
    noise_level=0.1,
    score=RIVAL_SCORE,  # a second score for the last section, and a second map
    method=RIVAL_METHOD,
    fitted=2000,  # training mosaics to which the curvature of that score is fitted
    seed=0,
)
cells = run.rows * run.columns
record = Record("Dependence on the test image", run.out, run)
train, test = (cifar10(run.data, part, run.cache) for part in (True, False))
classes = train.classes

# %% [markdown]
# ## A network for mosaics

# %%
mosaics = make_mosaics(train.images, train.labels, run.mosaics, run.rows, run.columns, run.seed)
targets = mosaics.multi_hot(len(classes))
training_set = MultiLabelPictures(mosaics.images, targets, train.transform)
torch.manual_seed(run.seed)
name = (
    f"mosaics-{run.rows}x{run.columns}-{run.mosaics}-{len(train)}-epochs-{run.epochs}"
    f"-rate-{run.learning_rate}-seed-{run.seed}"
)
model = kept(
    f"{run.cache}/{name}.safetensors",
    SmallCNN(len(classes)),
    lambda model: train_multi_label(
        model, training_set, run.epochs, run.learning_rate, seed=run.seed
    ),
)
torch.manual_seed(run.seed)
untrained = SmallCNN(len(classes)).eval()

# How often are the highest outputs exactly the classes of an unseen mosaic?
unseen = make_mosaics(test.images, test.labels, run.unseen, run.rows, run.columns, run.seed)
with torch.no_grad():
    outputs = torch.cat([model(part) for part in train.transform(unseen.images).split(100)])
said = outputs.topk(cells).indices
named = unseen.multi_hot(len(classes)).gather(1, said)
record.say(
    f"Trained on {run.mosaics} mosaics of {run.rows} x {run.columns} CIFAR-10 pictures. On "
    f"{run.unseen} unseen mosaics {float(named.mean()):.1%} of the {cells} highest outputs are "
    f"classes that the mosaic shows; in {float(named.all(1).float().mean()):.1%} all of them are. "
    "**Not run on VOC**, the paper's data, which could not be downloaded for the page in "
    "docs/results: `voc_dependence.py` asks the same of VOC."
)

# %% [markdown]
# ## Pairs of one training mosaic and several test mosaics
#
# The first mosaics of the training set are as random as any. Test `j` of a mosaic shows the class
# of its cell `j`, in a random cell, so that a map cannot profit from the place alone.

# %%
generator = torch.Generator().manual_seed(run.seed + 1)


def picture(label):
    """A random test picture of a class."""
    of_class = (test.labels == label).nonzero().flatten()
    return test.images[of_class[torch.randint(len(of_class), (1,), generator=generator)]][0]


def tests_for(own):
    """A test mosaic for each class in ``own [cells]``, and its multi-hot labels."""
    others = [label for label in range(len(classes)) if label not in own]
    chosen = torch.randperm(len(others), generator=generator)[: cells - 1]
    fillers = [others[place] for place in chosen]
    asked_cell = int(torch.randint(cells, (1,), generator=generator))
    beside = [picture(label) for label in fillers]
    shown, labels = [], torch.zeros(cells, len(classes))
    for row, label in enumerate(own):
        parts = [*beside[:asked_cell], picture(label), *beside[asked_cell:]]
        shown.append(torch.stack(parts).unflatten(0, (run.rows, run.columns)))
        labels[row, [label, *fillers]] = 1
    return tiled(torch.stack(shown)), labels


pairs = [tests_for(own.flatten().tolist()) for own in mosaics.labels[: run.maps + run.fresh]]

# %% [markdown]
# ## The maps, and what they must beat
#
# Four ways to say which pixels of the training mosaic matter, each the mean over noisy copies
# (SmoothGrad):
#
# - **training feature attribution**, the gradient of grad-cos;
# - the same for the network **before training**: what the architecture alone would give;
# - **own labels**: ordinary feature attribution of the training mosaic, of the sum of its own
#   classes' outputs. It never sees the test image, so it cannot move. Its mean share in the asked
#   cell is exactly chance, whatever it shows;
# - **the test's class**: ordinary feature attribution of the asked class's output on the training
#   mosaic. It is told the class, but knows nothing else of the test image. Where test images
#   differ by their class only, influence need not know more than this.
#
# Each map is read in two ways: `|gradient|`, as in the paper, and gradient × (input − mean
# colour), of which the positive part speaks for the score. Beside them stand integrated gradients
# from the mean colour and Grad-CAM on the last convolution.
#
# And the plainest question of all, without any gradient to pixels: how much lower is the score
# when an 8 x 8 square, or a whole cell, is covered by the mean colour? The last says whether the
# *score* cares for the asked half, whatever a map makes of it.

# %%
INFLUENCE = "training feature attribution"
SIZE, SIGNED, COVERED = "size of the gradient", "gradient × (input − mean)", "whole cells covered"
bce = nn.BCEWithLogitsLoss(reduction="none")
score = GradCosScore(model, bce)
last = model[6]  # convolution
mean = mean_colour(train.transform(train.images[:5000])).view(3, 1, 1)
noise = (run.noise_copies, run.noise_level, run.seed)


def influence_maps(network, loss_fn, image, label, tests, test_labels):
    method = SmoothGrad(TrainingGradient(GradCosScore(network, loss_fn)))
    return method.attribute(image[None], label[None], (tests, test_labels), *noise)


def covered(of, image, label, tests, test_labels, side):
    """What the score loses by each square of the mosaic, which tile it."""
    window = (3, side, side)
    return TrainingOcclusion(of).attribute(
        image[None], mean.expand_as(image)[None], label[None], (tests, test_labels), window, window
    )


def all_maps(image, label, own, tests, test_labels):
    """Each method's reading of one training image: maps ``[cells, C, H, W]``, one for each test."""
    own_output = SmoothGrad(Saliency(lambda images: (model(images) * label).sum(1)))
    output = SmoothGrad(Saliency(model))
    x = image[None]
    gradients = {
        INFLUENCE: influence_maps(model, bce, image, label, tests, test_labels),
        "before training": influence_maps(untrained, bce, image, label, tests, test_labels),
        "own labels": own_output.attribute(x, None, None, *noise, abs=False).expand(
            cells, -1, -1, -1
        ),
        "the test's class": torch.cat(
            [output.attribute(x, int(asked), None, *noise, abs=False) for asked in own]
        ),
    }
    maps = {}
    for method, gradient in gradients.items():
        maps[method, SIZE] = gradient.abs()
        maps[method, SIGNED] = gradient * (image - mean)
    again, labels = image.expand(cells, -1, -1, -1), label.expand(cells, -1)
    test_side = (tests, test_labels, labels)
    maps[INFLUENCE, "integrated gradients"] = TrainingIntegratedGradients(score).attribute(
        x, mean.expand_as(x), label[None], (tests, test_labels), run.noise_copies
    )
    for reading, side in (("8 x 8 squares covered", 8), (COVERED, 32)):
        maps[INFLUENCE, reading] = covered(score, image, label, tests, test_labels, side)
    maps[INFLUENCE, "Grad-CAM"] = grad_cam(score, last, again, additional_forward_args=test_side)
    maps["the test's class", "Grad-CAM"] = grad_cam(model, last, again, target=own)
    return maps, score(again, *test_side).detach()


# %% [markdown]
# ## Count
#
# `shares[i, j]` is the share of the positive mass in cell `i` when the test shows the class of
# cell `j`. The map is right if the diagonal is high. It *moves* if a cell gets more when its own
# class is asked for than when another is: `shares[j, j]` minus the mean of the rest of row `j`.

# %%
one_cell = torch.eye(cells).bool().view(cells, run.rows, run.columns)


def counted(maps):
    """Share and maximum in the asked cell, and the movement: the means over a mosaic's tests."""
    games = [grid_pointing_game(maps, cell.expand(cells, -1, -1)) for cell in one_cell]
    shares = torch.stack([game.share for game in games])
    hits = torch.stack([game.hit for game in games]).diagonal()
    others = (shares.sum(1) - shares.diagonal()) / (cells - 1)
    movement = shares.diagonal() - others
    return torch.stack([shares.diagonal().mean(), hits.mean(), movement.mean()])


found = {}  # (method, read as) -> rows of (share, hit, movement), one a mosaic
scores, examples = [], []
for index, (tests, test_labels) in enumerate(pairs[: run.maps]):
    image, label = training_set[index]
    own = mosaics.labels[index].flatten()
    maps, helped = all_maps(image, label, own, train.transform(tests), test_labels)
    scores.append(helped)
    if len(examples) < 4:
        examples.append(maps)
    for key, values in maps.items():
        found.setdefault(key, []).append(counted(values))
scores = torch.stack(scores)  # [maps, tests]
found = {key: torch.stack(rows) for key, rows in found.items()}

# %%
record.say(
    f"{run.maps} training mosaics, each mapped for {cells} test mosaics; chance is {1 / cells:.3g} "
    "for the share and the maximum, 0 for the movement. Means over mosaics with 95 % intervals:"
)
HEADER = (
    "method",
    "read as",
    "share in the asked cell",
    "maximum in the asked cell",
    "movement",
    "moved the right way",
)


def row_of(key, rows):
    """A line of a table: the share of mosaics that moved the right way comes last."""
    right = float((rows[:, 2] > 1e-9).double().mean())
    return (*key, *(interval(column) for column in rows.T), f"{right:.1%}")


record.table(HEADER, [row_of(key, rows) for key, rows in found.items()])

# %% [markdown]
# Some of these tests are opposed by the training mosaic. Is the map clearer where the training
# mosaic helps every one of its tests?

# %%
helps = (scores > 0).all(1)
if helps.sum() > 1:
    record.say(
        f"Only the {int(helps.sum())} training mosaics that help each of their tests, with "
        "scores above 0:"
    )
    own_rows = [key for key in found if key[0] == INFLUENCE]
    record.table(HEADER, [row_of(key, found[key][helps]) for key in own_rows])

# %%
height = 1.6 * run.rows / run.columns + 0.25  # of a line, with its title
figure, axes = plt.subplots(
    len(examples),
    2 * cells + 2,
    figsize=(1.6 * (2 * cells + 2), height * len(examples)),
    squeeze=False,
    layout="constrained",
)
for index, (line, maps) in enumerate(zip(axes, examples, strict=True)):
    shown = [(mosaics.images[index], "training")]
    for test_picture, heat in zip(pairs[index][0], maps[INFLUENCE, SIGNED], strict=True):
        shown += [(test_picture, "test"), (heat, "its map")]
    shown.append((maps["own labels", SIGNED][0], "own labels"))
    for place, (values, title) in zip(line, shown, strict=True):
        if values.is_floating_point():
            heat = positive_mass(values)
            place.imshow(heat.numpy(), cmap="inferno", vmax=float(heat.quantile(0.99)))
        else:
            place.imshow(values.permute(1, 2, 0).numpy())
        place.set_title(title, fontsize=8)
        place.set_axis_off()
record.figure(
    figure,
    "maps",
    "Training mosaics, their test mosaics with the map for each, and the map of their own labels. "
    "Maps: positive part of gradient × (input − mean colour), each on its own scale.",
)

# %% [markdown]
# ## What the loss has to do with it
#
# The gradient of a loss is weighted by what is still wrong: `p − y` for each class. A class that
# the network already sees in its half has little left to teach. Cover that half, and its label
# has nothing to stand on: the error grows, and with it the influence on test images of this class.
# Then the score *rises* when the asked half is covered, and a map that is faithful to the score
# points away from it.
#
# If this is the reason, a loss without such weights must bring the map to the asked half. One is
# `−Σ y f(x)`: the outputs of the classes that are shown, whatever the error. And the test side may
# ask for all classes of the test image, or for the one that it shares with the training mosaic.
# This is an own idea that came after looking at the first 30 mosaics, where all four variants were
# tried; the numbers are from mosaics that were not looked at before.


# %%
def outputs_of_labels(outputs, labels):
    return -(outputs * labels).sum(1)


variants = {}  # (loss, test side, read as) -> rows, one a mosaic
for index, (tests, test_labels) in enumerate(pairs[run.maps :], start=run.maps):
    image, label = training_set[index]
    tests = train.transform(tests)
    only = nn.functional.one_hot(mosaics.labels[index].flatten(), len(classes)).float()
    again, labels = image.expand(cells, -1, -1, -1), label.expand(cells, -1)
    for loss, loss_fn in (("cross-entropy", bce), ("−Σ y f", outputs_of_labels)):
        for side, asked in (("all its classes", test_labels), ("the asked class", only)):
            gradient = influence_maps(model, loss_fn, image, label, tests, asked)
            variant, test_side = GradCosScore(model, loss_fn), (tests, asked, labels)
            for reading, maps in (
                (SIZE, gradient.abs()),
                (SIGNED, gradient * (image - mean)),
                ("Grad-CAM", grad_cam(variant, last, again, additional_forward_args=test_side)),
                (COVERED, covered(variant, image, label, tests, asked, 32)),
            ):
                variants.setdefault((loss, side, reading), []).append(counted(maps))
variants = {key: torch.stack(rows) for key, rows in variants.items()}

# %%
record.say(
    f"{run.fresh} further training mosaics, for four variants of the score. The loss is that of "
    "the training and the test side; the test side asks for all of its classes, or for one:"
)
record.table(
    ("loss", "test side", *HEADER[1:]), [row_of(key, rows) for key, rows in variants.items()]
)

# %% [markdown]
# ## Another score, another map
#
# A gradient says what a step changes in the parameters; curvature says how much each of these
# changes counts for what the network does. The cosine with curvature (`--score`) stands beside
# grad-cos, and a second map (`--method`) beside the paper's, with both losses: the network's own
# with all labels on the test side, and `−Σ y f` with the asked class on the test side, which
# measures minus its logit. The same mosaics as in the section before.


# %%
MAPS = {
    method: Maps(method, mean.flatten(), run.noise_copies, run.noise_level, run.seed)
    for method in ("gradient", run.method)
}
path = f"{run.cache}/{name}"
rivals = {}  # (score, loss, map) -> rows, one a mosaic
for of in ("grad-cos", run.score):
    for loss, loss_fn in (
        ("cross-entropy, all labels", bce),
        ("−Σ y f, the asked class", outputs_of_labels),
    ):
        asked_with = score_named(of, model, training_set, path, run.fitted, loss_fn, bce)
        for index, (tests, test_labels) in enumerate(pairs[run.maps :], start=run.maps):
            image, label = training_set[index]
            shown = mosaics.labels[index].flatten()
            only = nn.functional.one_hot(shown, len(classes)).float()
            test_side = (train.transform(tests), test_labels if loss_fn is bce else only)
            train_side = (image.expand(cells, -1, -1, -1), label.expand(cells, -1))
            for method, maps in MAPS.items():
                found_maps = maps.of(asked_with, train_side, test_side)
                heat = found_maps if maps.method.signed else found_maps.abs()
                rivals.setdefault((of, loss, method), []).append(counted(heat))
        print(of, loss, flush=True)
rivals = {key: torch.stack(rows) for key, rows in rivals.items()}
record.say(
    f"## Another score, another map\n\n`{run.score}` beside grad-cos on the {run.fresh} further "
    f"mosaics; curvature by EK-FAC, fitted to {min(run.fitted, len(training_set))} training "
    f"mosaics. Of `{run.method}` the positive part counts."
)
record.table(
    ("score", "loss, test side", *HEADER[1:]), [row_of(key, rows) for key, rows in rivals.items()]
)
paper, *others = rivals
record.table(
    ("score", "loss, test side", "map", "movement beyond the paper's"),
    [(*key, interval(rivals[key][:, 2] - rivals[paper][:, 2])) for key in others],
)
record.save()
