# %% [markdown]
# # Explaining a wrong prediction
#
# Why did the network get this picture wrong? Section 5.1 of the paper (bacha2025training) answers
# with the top *opponents* of the picture under its true label: the training pictures whose
# learning raises its loss the most. They often bear the name that the network wrongly said, and
# the map shows which part of them does the harm.
#
# This notebook does so for every wrong prediction of a fine-tuned network on photographs, where
# one can look, and for many wrong predictions of a small network on CIFAR-10, where one can count.
# Then it asks whether the opponents are really to blame: what becomes of the wrong prediction when
# the network takes one step towards them, or one step away from them? Random training pictures,
# and random ones of the wrong class, take the same step for comparison.

# %%
from copy import deepcopy

import matplotlib.pyplot as plt
import torch
from torch.nn.functional import cross_entropy

from captum_tfa import GradCosScore, ScoreInfluence, TrainingGradCos
from captum_tfa.demo import predict
from captum_tfa.metrics.localisation import saliency
from captum_tfa.metrics.paired import paired_difference
from common.data import cifar10, photographs, plain
from common.fine_tuning import fine_tuned
from common.maps import show_map, show_picture, smooth_map
from common.pairs import split, stacked, trained
from common.record import Record, interval
from common.settings import settings

run = settings(
    data="hymenoptera_data",
    cifar="cifar10",
    out="results",
    cache="tutorials-cache",
    network="resnet18",
    side=224,
    epochs=5,  # of fine-tuning
    cifar_epochs=10,
    pool=10_000,  # training pictures of CIFAR-10 that are ranked
    wrong=100,  # wrong predictions of CIFAR-10 that are looked at
    top=5,  # opponents of each
    step_size=1e-3,
    others=20,  # right predictions, to see what a step breaks
    samples=20,  # noisy copies for a map
    noise=0.1,  # their deviation, as a part of the picture's range
    seed=0,
)
record = Record("Explaining a wrong prediction", run.out, run)
draw = torch.Generator().manual_seed(run.seed)

# %% [markdown]
# ## Wrong predictions and their opponents
#
# All scores are grad-cos under the *true* label: below 0, a step of learning on the training
# picture raises the loss of the test picture.


# %%
class Study:
    """The wrong predictions of a network, and how much every training picture did for them."""

    def __init__(self, name, model, train, test, most, batch_size):
        self.name, self.model, self.train, self.test = name, model, train, test
        probabilities, labels = predict(model, test, batch_size)
        said = probabilities.argmax(dim=1)
        every = (said != labels).nonzero().flatten()
        if len(every) < 2:
            raise ValueError(
                f"{name} has {len(every)} wrong prediction(s) on {len(test)} test pictures; to say "
                "something about them takes at least 2: give more test pictures"
            )
        self.wrong = every[torch.randperm(len(every), generator=draw)[:most]]
        right = (said == labels).nonzero().flatten()
        self.right = right[torch.randperm(len(right), generator=draw)[: run.others]]
        self.true, self.said = labels[self.wrong], said[self.wrong]
        self.images, _ = stacked(test, self.wrong)
        self.influence = ScoreInfluence(GradCosScore(model), train, batch_size)
        self.scores = self.influence.influence((self.images, self.true))  # [wrong, N]
        self.opponents = self.scores.argsort(dim=1)[:, : run.top]
        record.say(
            f"**{name}:** {len(every)} of {len(test)} test pictures are called by the wrong name "
            f"({1 - len(every) / len(test):.1%} right). {len(self.wrong)} of them are looked at, "
            f"{len(train)} training pictures are ranked."
        )

    def of_wrong_class(self):
        """The share of each one's top opponents that bear the wrong name, ``[wrong]``."""
        return (self.train.labels[self.opponents] == self.said[:, None]).double().mean(1)

    def figure(self, rows):
        """Wrong predictions with their top opponents and maps."""
        rows, columns = min(rows, len(self.wrong)), min(3, run.top)
        width = 1 + 2 * columns
        fig, axes = plt.subplots(rows, width, figsize=(1.7 * width, 1.95 * rows), squeeze=False)
        method, classes = TrainingGradCos(self.model), self.test.classes
        for row in range(rows):
            asked = int(self.wrong[row])
            title = f"test: {classes[self.true[row]]}\ncalled {classes[self.said[row]]}"
            show_picture(axes[row, 0], plain(self.test, asked), title)
            for column, index in enumerate(self.opponents[row, :columns].tolist()):
                options = (run.samples, run.noise, run.seed)
                found = smooth_map(method, self.train[index], self.test[asked], *options)
                title = f"{classes[self.train.labels[index]]}\n{self.scores[row, index]:+.2f}"
                picture = plain(self.train, index)
                show_picture(axes[row, 1 + 2 * column], picture, title)
                show_map(axes[row, 2 + 2 * column], picture, saliency(found))
        fig.tight_layout()
        return fig


photos = [photographs(run.data, part, run.side) for part in ("train", "val")]
tuned = fine_tuned(run.network, photos[0], run.cache, run.epochs, seed=run.seed)
of_photos = Study(
    f"{run.network} on photographs", tuned, *photos, most=len(photos[1]), batch_size=16
)

small_train, _ = split(cifar10(run.cifar, True, run.cache), 0.1, run.seed)
small = trained(small_train, run.cifar_epochs, run.seed, run.cache)
pool = small_train.part(range(min(run.pool, len(small_train))))
of_cifar = Study(
    "small CNN on CIFAR-10", small, pool, cifar10(run.cifar, False, run.cache), run.wrong, 250
)
studies = (of_photos, of_cifar)

# %% [markdown]
# ## Do the opponents bear the wrong name?

# %%
record.say("## Do the opponents bear the wrong name?")
rows = []
for study in studies:
    base = (study.train.labels == study.said[:, None]).double().mean()
    rows.append([study.name, interval(study.of_wrong_class()), f"{base:.3g}"])
record.say(
    f"Share of the top {run.top} opponents that are labelled with the class which the network "
    "wrongly said (95 % interval over wrong predictions), and its share of all training pictures:"
)
record.table(["", "of the top opponents", "of all"], rows)

# %% [markdown]
# One can also ask the other way round: who are the top *proponents* of the wrong name? With two
# classes these are exactly the opponents of the right one, since the two loss gradients point in
# opposite directions. With ten classes they need not be.

# %%
rows = []
for study in studies:
    towards = study.influence.influence((study.images, study.said), k=run.top).indices
    both = (towards[:, :, None] == study.opponents[:, None]).any(2).double().mean(1)
    rows.append([study.name, interval(both)])
record.say(
    f"Share of the top {run.top} proponents of the wrong name that are also among the top "
    f"{run.top} opponents of the right one:"
)
record.table(["", "shared"], rows)

# %%
for study, name in zip(studies, ("photographs", "cifar10"), strict=True):
    record.figure(
        study.figure(rows=4),
        name,
        f"{study.name}: wrong predictions, their top opponents under the true label (with "
        "grad-cos), and where these matter.",
    )

# %% [markdown]
# ## Are they to blame?
#
# One plain step of gradient descent on the mean loss of a few training pictures, or one step
# *away* from them (up that loss), which is a first, crude way to unlearn. What becomes of the
# wrong prediction's loss under its true label, and is it right afterwards? How many right
# predictions on other test pictures does the step break?


# %%
def after_step(model, images, labels, size):
    """A copy of the model after one plain step down (size > 0) or up (size < 0) the loss."""
    changed = deepcopy(model)
    weights = list(changed.parameters())
    gradients = torch.autograd.grad(cross_entropy(changed(images), labels), weights)
    with torch.no_grad():
        for weight, gradient in zip(weights, gradients, strict=True):
            weight -= size * gradient
    return changed


def chosen(study, row, group):
    """Which training pictures the step is taken on."""
    if group == "top opponents":
        return study.opponents[row]
    if group == "top proponents":
        return study.scores[row].topk(run.top).indices
    among = torch.arange(len(study.train))
    if group == "random, of the wrong class":
        among = (study.train.labels == study.said[row]).nonzero().flatten()
    return among[torch.randperm(len(among), generator=draw)[: run.top]]


GROUPS = ("top opponents", "random, of the wrong class", "random", "top proponents")
WAYS = {"towards": run.step_size, "away": -run.step_size}


@torch.no_grad()
def outcome(study, row, changed, right_images, right_labels):
    """Change of the loss, whether the prediction is right now, and the share that broke."""
    image, label = study.images[row : row + 1], study.true[row : row + 1]
    before, after = study.model(image), changed(image)
    loss = cross_entropy(after, label) - cross_entropy(before, label)
    mended = after.argmax(1) == label
    broken = (changed(right_images).argmax(1) != right_labels).double().mean()
    return [float(loss), float(mended), float(broken)]


def measured(study):
    """``[groups, ways, wrong predictions, 3]``: what `outcome` says."""
    right_images, right_labels = stacked(study.test, study.right)
    found = torch.zeros(len(GROUPS), len(WAYS), len(study.wrong), 3, dtype=torch.double)
    for row in range(len(study.wrong)):
        for i, group in enumerate(GROUPS):
            images, labels = stacked(study.train, chosen(study, row, group))
            for j, size in enumerate(WAYS.values()):
                changed = after_step(study.model, images, labels, size)
                numbers = outcome(study, row, changed, right_images, right_labels)
                found[i, j, row] = torch.tensor(numbers)
    return found


outcomes = {study.name: measured(study) for study in studies}

# %%
record.say("## Are they to blame?")
for name, found in outcomes.items():
    record.say(
        f"**{name}**, steps of size {run.step_size:g} on {run.top} training pictures at once, "
        f"{found.shape[2]} wrong predictions (95 % intervals over these):"
    )
    rows = []
    for i, group in enumerate(GROUPS):
        for j, way in enumerate(WAYS):
            loss, mended, broken = found[i, j].T
            gap = paired_difference(loss, found[1, j, :, 0])
            rows.append(
                [
                    f"{way} {group}" if way == "towards" else f"away from {group}",
                    interval(loss),
                    f"{loss.median():.3g}",
                    "" if i == 1 else f"{gap.mean:.3g} [{gap.low:.3g}, {gap.high:.3g}]",
                    f"{mended.mean():.1%}",
                    f"{broken.mean():.2%}",
                ]
            )
    record.table(
        [
            "a step",
            "change of the loss",
            "median",
            "minus random of the wrong class, paired",
            "right now",
            "others broken",
        ],
        rows,
    )

# %% [markdown]
# Grad-cos looks at directions only. How far a plain step goes also depends on the length of the
# training picture's gradient, which is short for a picture that the network has learned well.


# %%
def gradient_length(study, index):
    """The length of a training picture's loss gradient."""
    image, label = study.train[index]
    loss = cross_entropy(study.model(image[None]), torch.tensor([label]))
    gradients = torch.autograd.grad(loss, list(study.model.parameters()))
    return float(torch.cat([gradient.flatten() for gradient in gradients]).norm())


rows = []
for study in studies:
    lengths = [
        torch.tensor([gradient_length(study, index) for index in indices.flatten().tolist()])
        for indices in (study.opponents, study.scores.topk(run.top).indices)
    ]
    rows.append([study.name, *(f"{length.median():.3g}" for length in lengths)])
record.say("Median length of the gradients of single training pictures:")
record.table(["", "top opponents", "top proponents"], rows)
record.save()
