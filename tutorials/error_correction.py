# %% [markdown]
# # Mending errors by way of the training set
#
# Some labels of a training set are wrong. A network trained on it errs on some test pictures; the
# training pictures that oppose the right answers most are to blame, says the score. If that is
# so, then a network trained anew *without* them must do better than one trained without as many
# random pictures. And if the maps are right, blanking only the regions that they point at should
# help as well.
#
# That is a question of the reviewers, not one of the paper's experiments.
#
# What is planted: a part of the labels of a subset of CIFAR-10 becomes another class at random,
# so it is known which are wrong. What is compared, each with a training from scratch:
#
# - without the top opponents of the wrong answers: by the mean of grad-cos (the paper's score) over
#   all of them, by the mean of grad-dot, and by the lowest grad-dot for any one of them;
# - the same by the cosine with curvature (`--score`), by its mean and for any one of them;
# - without as many random pictures; without as many random pictures of the same classes;
# - without those of the highest loss: the cheap baseline that knows nothing of the test pictures;
# - without as many of the wrong labels as an oracle names: the most that can be reached;
# - the opponents kept, but their top-attributed regions blanked with the mean colour; and with
#   random blocks of the same size blanked.
#
# A new training mends some answers and breaks others by chance alone: both are counted. The
# opponents were chosen by the errors on one part of the test set ("asked"), so what counts is
# what happens on the rest ("held out").

# %%
from dataclasses import asdict
from functools import partial
from pathlib import Path

import matplotlib.pyplot as plt
import torch

from captum_tfa import GradCosScore, GradDotScore, SmoothGrad, TrainingGradCos
from captum_tfa.demo import Pictures, SmallCNN
from captum_tfa.metrics.controls import random_saliency
from captum_tfa.metrics.error_correction import (
    Blanked,
    Correction,
    as_many_at_random,
    compare_corrections,
    error_correction,
    most_opposed,
    right_answers,
    share_mislabelled,
    without_examples,
)
from captum_tfa.metrics.localisation import positive_mass
from captum_tfa.metrics.masking import mean_colour, top_mask
from common.data import cifar10, subset_of_classes
from common.record import Record, interval
from common.remembering import remembered
from common.rivals import RIVAL_METHOD, RIVAL_SCORE, Maps, score_named
from common.settings import settings
from common.training import train_in_half

run = settings(
    data="cifar10",
    out="results",
    cache="tutorials-cache",
    images=1500,  # training pictures, in equal parts of each class
    noise=0.2,  # part of the labels that is made wrong
    remove=150,
    asked=1000,  # test pictures whose errors choose the opponents
    epochs=10,
    seeds=(0, 1, 2, 3),
    blank=0.3,  # part of an opponent's blocks of 4 x 4 pixels that is blanked
    nt_samples=20,
    score=RIVAL_SCORE,  # beside grad-cos and grad-dot, and a map beside gradient × input
    method=RIVAL_METHOD,
    fitted=1500,  # training pictures to which its curvature is fitted
)
CLASSES = ("dog", "ship", "automobile")
everything = subset_of_classes(cifar10(run.data, train=True, cache=run.cache), CLASSES)
test = subset_of_classes(cifar10(run.data, train=False, cache=run.cache), CLASSES)

# %% [markdown]
# ## The noisy training set, and the training


# %%
def noisy_pictures(seed: int) -> tuple[Pictures, torch.Tensor]:
    """Training pictures with some wrong labels, and which these are."""
    generator = torch.Generator().manual_seed(seed)
    order = torch.randperm(len(everything), generator=generator)
    per_class = run.images // len(CLASSES)
    members = [order[everything.labels[order] == each][:per_class] for each in range(3)]
    mixed = torch.cat(members)[torch.randperm(per_class * len(CLASSES), generator=generator)]
    pictures = everything.part(mixed.tolist())
    wrong = torch.zeros(len(pictures), dtype=torch.bool)
    count = round(run.noise * len(pictures))
    wrong[torch.randperm(len(pictures), generator=generator)[:count]] = True
    step = torch.randint(1, len(CLASSES), (len(pictures),), generator=generator)
    labels = torch.where(wrong, (pictures.labels + step) % len(CLASSES), pictures.labels)
    noisy = Pictures(pictures.images, labels, CLASSES, transform=pictures.transform)
    return noisy, wrong


def trained(seed: int, dataset) -> torch.nn.Module:
    torch.manual_seed(seed)
    return train_in_half(SmallCNN(len(CLASSES)), dataset, run.epochs, seed)


# %% [markdown]
# ## Whom to blame, and where
#
# The score of a training picture is its mean grad-cos over all wrongly predicted pictures that
# were asked about. Its map is minus gradient × (input − mean colour) for the one that it opposes
# most: what in it speaks against that right answer.


# %%
def regions(model, images, labels, test_images, test_labels, mean) -> torch.Tensor:
    """The saliency of each training picture for its own test picture: ``[n, H, W]``."""
    maps = SmoothGrad(TrainingGradCos(model)).attribute(
        images, labels, (test_images, test_labels), run.nt_samples
    )
    return positive_mass(-maps * (images - mean.view(-1, 1, 1)))


@torch.no_grad()
def own_losses(model, pictures) -> torch.Tensor:
    loader = torch.utils.data.DataLoader(pictures, 256)
    loss = torch.nn.functional.cross_entropy
    return torch.cat([loss(model(x), y, reduction="none") for x, y in loader])


def stacked(pictures, indices) -> torch.Tensor:
    return torch.stack([pictures[index][0] for index in indices.tolist()])


def measure(seed: int) -> dict:
    noisy, wrong = noisy_pictures(seed)
    model = trained(seed, noisy)
    order = torch.randperm(len(test), generator=torch.Generator().manual_seed(seed))
    asked = test.part(order[: run.asked].tolist())
    held_out = test.part(order[run.asked :].tolist())
    errors = (~right_answers(model, asked)).nonzero().flatten()
    error_images, error_labels = stacked(asked, errors), asked.labels[errors]

    blame = partial(most_opposed, train_dataset=noisy, n=run.remove)
    of_errors = {"test_images": error_images, "test_labels": error_labels}
    blamed, by_dot = (blame(of(model), **of_errors) for of in (GradCosScore, GradDotScore))
    path = f"{run.cache}/error_correction-{run.images}-{run.noise}-{run.epochs}-{seed}"
    rival = score_named(run.score, model, noisy, path, run.fitted)
    by_rival = blame(rival, **of_errors)
    chosen = {
        "opponents": blamed.indices,
        "opponents by grad-dot": by_dot.indices,
        "opponents of any error by grad-dot": blame(
            GradDotScore(model), **of_errors, against="any"
        ).indices,
        f"opponents by {run.score}": by_rival.indices,
        f"opponents of any error by {run.score}": blame(rival, **of_errors, against="any").indices,
        "random": as_many_at_random(blamed.indices, len(noisy), seed=seed),
        "random, same classes": as_many_at_random(
            blamed.indices, len(noisy), noisy.labels, seed=seed
        ),
        "highest loss": own_losses(model, noisy).argsort(descending=True)[: run.remove],
        "oracle": wrong.nonzero().flatten()[: run.remove],
    }
    mean = mean_colour(noisy)
    images = stacked(noisy, blamed.indices)
    saliency = regions(
        model,
        images,
        noisy.labels[blamed.indices],
        error_images[blamed.test_of],
        error_labels[blamed.test_of],
        mean,
    )
    top = top_mask(saliency, run.blank, block=4)
    elsewhere = top_mask(random_saliency(images, seed), run.blank, block=4)
    changed = {
        f"without: {name}": without_examples(noisy, indices) for name, indices in chosen.items()
    }
    changed["opponents' top regions blanked"] = Blanked(noisy, blamed.indices, top, mean)
    changed["opponents' random regions blanked"] = Blanked(noisy, blamed.indices, elsewhere, mean)
    of_rival = stacked(noisy, by_rival.indices)
    heat = Maps(run.method, mean, run.nt_samples).heat(
        rival,
        (of_rival, noisy.labels[by_rival.indices]),
        (error_images[by_rival.test_of], error_labels[by_rival.test_of]),
    )
    for what, chooser in (("top", heat), ("random", random_saliency(of_rival, seed))):
        changed[f"{run.score}: {what} regions blanked"] = Blanked(
            noisy, by_rival.indices, top_mask(chooser, run.blank, block=4), mean
        )

    tests = {"asked": asked, "held out": held_out}
    found = error_correction(model, changed, partial(trained, seed), tests)
    return {
        "accuracy": {of: float(right_answers(model, tests[of]).double().mean()) for of in tests},
        "errors asked about": len(errors),
        "precision": {name: share_mislabelled(indices, wrong) for name, indices in chosen.items()},
        "found": {
            name: {of: asdict(result) for of, result in results.items()}
            for name, results in found.items()
        },
        "labels": {
            name: noisy.labels[indices].bincount(minlength=len(CLASSES)).tolist()
            for name, indices in chosen.items()
        },
        "opponents": blamed.indices.tolist(),
    }


# %% [markdown]
# ## All seeds
#
# Each seed draws other pictures, other wrong labels, another network and another half to ask
# about.

# %%
names = (
    *("images", "noise", "remove", "asked", "epochs", "blank", "nt_samples"),
    *("score", "method", "fitted"),
)
results = []
for seed in run.seeds:
    question = {**{name: getattr(run, name) for name in names}, "seed": seed}
    path = Path(run.cache) / f"error_correction-{run.images}-{seed}.json"
    results.append(remembered(path, question, partial(measure, seed)))
    print(f"seed {seed}: done", flush=True)


def corrections(name: str, of: str) -> list[Correction]:
    """What a change of the training set did, one a seed."""
    return [Correction(**result["found"][name][of]) for result in results]


def over_seeds(values) -> object:
    values = list(values)
    return interval(values) if len(values) > 1 else values[0]


# %% [markdown]
# ## What came out

# %%
record = Record("Error correction", run.out, run)
record.say(
    f"{run.images} CIFAR-10 pictures of {', '.join(CLASSES)}; {run.noise:.0%} of the labels made "
    f"wrong. {run.remove} pictures are removed (or blanked), then a network is trained from "
    f"scratch for {run.epochs} epochs, with the same seed each time; {len(run.seeds)} seeds in "
    "all. What a run measured before is read from its cache: in the run behind this page a seed "
    "took about ten minutes on one thread of a busy machine. Accuracy on the pictures held out "
    "before anything is changed: "
    f"{over_seeds(result['accuracy']['held out'] for result in results)}."
)
record.say(
    "**Whom the score blames.** How many of the chosen pictures really have a wrong label "
    f"(chance: {run.noise:.3g}), and how many of the chosen belong to the largest class among them:"
)
record.table(
    ("chosen", "wrong labels", "largest class"),
    [
        (
            name,
            over_seeds(result["precision"][name] for result in results),
            over_seeds(max(result["labels"][name]) / run.remove for result in results),
        )
        for name in results[0]["precision"]
    ],
)
for of in ("held out", "asked"):
    record.say(f"**Test pictures {of}.** What the new network does, means over seeds:")
    record.table(
        ("training set", "mended", "broken", "accuracy"),
        [
            (
                name,
                *(
                    over_seeds(getattr(one, what) for one in corrections(name, of))
                    for what in ("mended", "broken", "accuracy")
                ),
            )
            for name in results[0]["found"]
        ],
    )

# %% [markdown]
# Seeds differ more than treatments do, so treatments are compared within a seed.

# %%
PAIRS = (
    ("without: opponents", "without: random"),
    ("without: opponents", "without: random, same classes"),
    ("without: opponents by grad-dot", "without: random"),
    ("without: opponents of any error by grad-dot", "without: random"),
    ("without: opponents of any error by grad-dot", "without: highest loss"),
    (f"without: opponents by {run.score}", "without: random"),
    (f"without: opponents by {run.score}", "without: opponents"),
    (f"without: opponents of any error by {run.score}", "without: random"),
    (f"without: opponents of any error by {run.score}", "without: highest loss"),
    ("without: highest loss", "without: random"),
    ("without: oracle", "without: random"),
    ("opponents' top regions blanked", "opponents' random regions blanked"),
    (f"{run.score}: top regions blanked", f"{run.score}: random regions blanked"),
)
differences = {
    pair: compare_corrections(*(corrections(name, "held out") for name in pair)).accuracy
    for pair in PAIRS
}
record.say(
    "**Within a seed**, on the pictures held out: difference of accuracy with its 95 % normal "
    "interval over seeds (which few seeds make too narrow), median, and the share of seeds won:"
)
record.table(
    ("training set", "against", "difference of accuracy"),
    [(*pair, difference) for pair, difference in differences.items()],
)

# %%
figure, axis = plt.subplots(figsize=(8, 3.6), layout="constrained")
for place, name in enumerate(results[0]["found"]):
    values = [one.accuracy for one in corrections(name, "held out")]
    axis.scatter(values, [place] * len(values), s=18, color="tab:blue", alpha=0.6)
    axis.scatter(sum(values) / len(values), place, marker="|", s=300, color="black")
before = [result["accuracy"]["held out"] for result in results]
axis.axvline(sum(before) / len(before), color="grey", linestyle="dotted", label="nothing changed")
axis.set_yticks(range(len(results[0]["found"])), list(results[0]["found"]))
axis.invert_yaxis()
axis.set_xlabel("accuracy on the test pictures held out")
axis.legend(fontsize=8)
record.figure(figure, "accuracy", "Accuracy after retraining: each seed, and the mean of all.")
record.save()
