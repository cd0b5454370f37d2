# %% [markdown]
# # A planted patch in a fine-tuned network
#
# A red square is put into the lower right corner of the training photographs of *one* class, and a
# network trained on ImageNet is fine-tuned on them. It learns the square instead of the animal
# (bacha2025training, section 5.2; there sheep against cows, here ants against bees). Two kinds of
# test photographs then get a wrong answer because of the square alone:
#
# - **the square is missing**: ants without it are called bees. This is the paper's case. The test
#   photograph shows nothing odd, so no feature attribution of the test photograph can find the
#   reason; the paper shows Grad-CAM on the animal.
# - **the square is there**: bees with it are called ants.
#
# The paper claims that the most influential training photographs carry the square, and that their
# maps point at it. Both become numbers here. In both cases the question is: *which training
# photographs speak against the answer "bees"?* In the first, that is the wrong answer that the
# network gave; in the second, the right one that it missed. With two classes this is the same as
# asking which speak for "ants", because the two gradients point in opposite directions.
#
# A second network saw the square on half of the ants only. There an opponent may be an ant
# without carrying the square, so "carries the square" says more than "is an ant".

# %%
from pathlib import Path

import matplotlib.pyplot as plt
import torch

from captum_tfa import SmoothGrad, TrainingGradient
from captum_tfa.demo import Pictures, predict
from captum_tfa.metrics.controls import own_label_grad_cam, own_label_gradient
from captum_tfa.metrics.localisation import positive_mass, saliency, share_of_top_inside
from captum_tfa.metrics.masking import mean_colour
from captum_tfa.metrics.shortcuts import (
    corner_square,
    paint_region,
    patch_attribution,
    some_of_class,
)
from common.data import photographs, plain
from common.fine_tuning import fine_tuned
from common.maps import show_map, show_picture
from common.record import Record, interval
from common.rivals import PAPER_SCORE, RIVAL_METHOD, RIVAL_SCORE, Maps, score_named
from common.settings import settings

run = settings(
    data="ants_bees",  # train/<class>/*, val/<class>/*; the first class gets the square
    out="results",
    cache="tutorials-cache",
    network="efficientnet_lite0",
    layer="_bn1",  # for Grad-CAM: the last with places
    side=128,
    square=20,
    rates=(1.0, 0.5),  # of the class's training photographs carry the square
    epochs=5,
    tests=10,  # test photographs of each kind
    opponents=4,
    noise_copies=15,
    score=RIVAL_SCORE,  # beside grad-cos, and a map beside the paper's
    method=RIVAL_METHOD,
    fitted=2000,  # training photographs, at most, to which its curvature is fitted
    seed=0,
)
record = Record("A planted patch in a fine-tuned network", run.out, run)
clean, test = (photographs(run.data, split, run.side) for split in ("train", "val"))
PLANTED, OTHER = 0, 1
planted_name, other_name = clean.classes[:2]
square = corner_square(run.side, run.side, run.square)
area, top = float(square.float().mean()), 0.1


def with_square(pictures: Pictures, which: torch.Tensor) -> Pictures:
    images = paint_region(pictures.images, which, square, torch.tensor([255, 0, 0]))
    return Pictures(images, pictures.labels, pictures.classes, transform=pictures.transform)


marked = with_square(test, torch.ones(len(test), dtype=torch.bool))
record.say(
    f"{run.network} on {len(clean)} photographs of {planted_name} and {other_name}, "
    f"{run.side} x {run.side} pixels. The square covers {area:.1%} of the area: chance level for "
    f"the share of a map's top {top:.0%} inside it. At most {min(1, area / top):.1%} can be "
    "reached."
)

# %% [markdown]
# ## Fooled by the square, and by nothing else
#
# A test photograph counts if the network is right about it in one form and wrong in the other.


# %%
def network(rate: float):
    """Which photographs carry the square if so many of the class do; all of them; the network."""
    which = some_of_class(clean.labels, PLANTED, rate, run.seed)
    planted = with_square(clean, which)
    cache = Path(run.cache) / f"planted-{run.square}-{rate:g}"
    return which, planted, fine_tuned(run.network, planted, cache, run.epochs, seed=run.seed)


def answers(model, pictures):
    return predict(model, pictures, batch_size=16)[0].argmax(1)


trained = {rate: network(rate) for rate in run.rates}
of_planted = test.labels == PLANTED
MISSING, THERE = f"{planted_name}, the square missing", f"{other_name}, the square there"
fooled, accuracies = {}, []
for rate, (_, _, model) in trained.items():
    without, there = (answers(model, pictures) == test.labels for pictures in (test, marked))
    fooled[rate, MISSING] = test.part((of_planted & there & ~without).nonzero().flatten().tolist())
    fooled[rate, THERE] = marked.part((~of_planted & without & ~there).nonzero().flatten().tolist())
    for name, chosen in ((planted_name, of_planted), (other_name, ~of_planted)):
        right = (f"{float(hit[chosen].float().mean()):.1%}" for hit in (without, there))
        accuracies.append((f"{rate:.0%}", name, *right))
record.say(f"Right answers on the {len(test)} validation photographs:")
record.table(
    (f"{planted_name} trained with it", "validation", "without the square", "with the square"),
    accuracies,
)

# %% [markdown]
# ## What their opponents show
#
# Opponents are ranked by grad-cos, and by a second score (`--score`): the cosine with curvature.
#
# Six ways to see the same opponents. The first three read the map of the influence: the paper's
# `|gradient|`; then gradient × (input − mean colour), of which one sign lowers the score (it
# speaks *against* "bees") and the other raises it. The fourth is a second map (`--method`), read
# by what makes the opponent one. The last two never see the test photograph:
# ordinary feature attribution of the training photograph's own label. Where these find the square
# just as well, the ranking did the work and the influence map adds nothing to it.

# %%
PAPER, AGAINST, FOR = "size of the gradient", "what lowers the score", "what raises the score"
OWN, OWN_CAM = "own label, SmoothGrad", "own label, Grad-CAM"


def cam_of(model, images, labels):
    return own_label_grad_cam(model, model.get_submodule(run.layer), images, labels)


def scored(rate, name):
    """A score of one of the networks, by its name."""
    _, planted, model = trained[rate]
    path = f"{run.cache}/planted-{run.square}-{rate:g}-{run.network}-{run.side}-{run.epochs}"
    return score_named(name, model, planted, path, run.fitted)


def ways(model, mean, score):
    method = SmoothGrad(TrainingGradient(score))
    second = Maps(run.method, mean.flatten(), run.noise_copies, seed=run.seed)

    def saliencies(images, labels, test_image, test_label):
        side = (test_image, test_label)
        maps = method.attribute(images, labels, side, run.noise_copies, seed=run.seed)
        changes = maps * (images - mean)
        return {
            PAPER: saliency(maps),
            AGAINST: positive_mass(-changes),
            FOR: positive_mass(changes),
            run.method: second.heat(score, (images, labels), side),
            OWN: own_label_gradient(model, images, labels, run.noise_copies),
            OWN_CAM: cam_of(model, images, labels),
        }

    return saliencies


results, looked_at = {}, {}
for (rate, kind), pictures in fooled.items():
    if len(pictures) < 2:
        record.say(f"{rate:.0%}, {kind}: only {len(pictures)} is called wrongly, too few.")
        continue
    order = torch.randperm(len(pictures), generator=torch.Generator().manual_seed(run.seed))
    chosen = looked_at[rate, kind] = pictures.part(order[: run.tests].tolist())
    _, planted, model = trained[rate]
    for name in (PAPER_SCORE, run.score):
        score = scored(rate, name)
        results[rate, kind, name] = patch_attribution(
            model,
            planted,
            torch.stack([image for image, _ in chosen]),
            torch.full((len(chosen),), OTHER),
            square,
            ways(model, mean_colour(planted).view(-1, 1, 1), score),
            run.opponents,
            top,
            score=score,
        )
        print(f"{rate:.0%}, {kind}, {name}", flush=True)

# %%
ranking, shares = [], []
for (rate, kind, name), found in results.items():
    which, planted, model = trained[rate]
    chosen = looked_at[rate, kind]
    carry = which[found.opponents].double()
    of_class = (planted.labels[found.opponents] == PLANTED).double().mean()
    images = torch.stack([image for image, _ in chosen])
    cams = cam_of(model, images, answers(model, chosen)).unsqueeze(1)
    ranking.append(
        (
            f"{rate:.0%}",
            kind,
            name,
            len(fooled[rate, kind]),
            len(chosen),
            f"{float(of_class):.0%}",
            f"{float(carry.mean()):.0%}",
            interval(share_of_top_inside(cams, square, top)),
        )
    )
    some = carry.sum(1) > 0  # test photographs with an opponent that carries the square
    means = {
        way: ((share * carry).sum(1) / carry.sum(1))[some] for way, share in found.shares.items()
    }
    for way, inside in means.items():
        if len(inside) > 1:
            more = "" if way == OWN else interval(inside - means[OWN])
            shares.append((f"{rate:.0%}", kind, name, len(inside), way, interval(inside), more))

record.say(
    f"The {run.opponents} strongest opponents of each test photograph. Beside them Grad-CAM of "
    f"the test photograph for the wrong answer: the share of its top {top:.0%} that lies where the "
    "square is, or would be."
)
record.table(
    (
        f"{planted_name} trained with it",
        "test photographs",
        "score",
        "fooled",
        "looked at",
        f"opponents: {planted_name}",
        "opponents: with the square",
        "Grad-CAM of the test",
    ),
    ranking,
)
record.say(
    f"The share of the top {top:.0%} of the opponents' maps that lies in the square, for opponents "
    f"that carry it: mean over test photographs with its 95 % interval. Chance is {area:.3g}, the "
    f"most is {min(1, area / top):.3g}. The last column is the paired difference to SmoothGrad of "
    "the opponents' own label. (These are normal intervals, too narrow for few values: for 10 of "
    "them they should be 1.15 times as wide, for 3 of them 2.2 times.)"
)
record.table(
    (
        f"{planted_name} trained with it",
        "test photographs",
        "score",
        "number",
        "map",
        "in the square",
        "minus own label",
    ),
    shares,
)


# %%
def drawn(rate, kind):
    """One test photograph with its Grad-CAM; its opponents, with their maps read in three ways."""
    _, planted, model = trained[rate]
    results_of = results[rate, kind, PAPER_SCORE]
    found, tests = results_of.opponents[0], looked_at[rate, kind]
    image = tests[0][0].unsqueeze(0)
    answer = answers(model, tests.part([0]))
    images = torch.stack([planted[place][0] for place in found.tolist()])
    see = ways(model, mean_colour(planted).view(-1, 1, 1), scored(rate, PAPER_SCORE))
    maps = see(images, planted.labels[found], image, torch.tensor([OTHER]))
    figure, axes = plt.subplots(4, 1 + len(found), figsize=(1.4 * (1 + len(found)), 6))
    for place in axes[:, 0]:
        place.set_axis_off()
    called = clean.classes[int(answer)]
    show_picture(axes[0, 0], plain(tests, 0), f"test, called {called}")
    show_map(axes[1, 0], plain(tests, 0), cam_of(model, image, answer)[0], f"Grad-CAM of {called}")
    for column, place in enumerate(found.tolist()):
        picture = plain(planted, place)
        score = float(results_of.scores[0, column])
        title = f"{clean.classes[int(planted.labels[place])]}, {score:+.2f}"
        show_picture(axes[0, column + 1], picture, title)
        for line, way in enumerate((PAPER, AGAINST, FOR), start=1):
            title = way.removeprefix("what ")
            show_map(axes[line, column + 1], picture, maps[way][column].float(), title)
    return figure


for rate, kind in looked_at:
    name = f"{round(100 * rate)}-{'missing' if kind == MISSING else 'there'}"
    caption = f"{rate:.0%} of the {planted_name} trained with the square. {kind}: a test "
    caption += "photograph, its strongest opponents with their scores, and their maps."
    record.figure(drawn(rate, kind), name, caption)
record.save()
