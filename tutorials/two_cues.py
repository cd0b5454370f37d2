# %% [markdown]
# # Two cues: does a map know for which test image it was made?
#
# Two planted cues A and B teach the network one class, each in half of its training images. A test
# image of another class gets A, its twin gets B, and is called that class. Which training images,
# and which part of an image that carries *both* cues, are behind that? Here the answer is known
# (own test; `captum_tfa.metrics.two_cues`):
#
# - **ranking**: does the score put the images that carry the asked cue first? AUC, 0.5 by chance.
# - **own share**: the asked cue's part of a map's mass in both cues; 0.5 for every map that does
#   not see the test image, such as attribution of the training image's own label.
# - **moves right**: how often the map moves to the asked cue when the question changes.
# - **mass**: the part of the whole map in the asked cue, against its area.

# %%
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from captum.attr import IntegratedGradients
from torch import Tensor, nn

from captum_tfa import (
    GradCosScore,
    GradDotScore,
    InfluenceScore,
    ScoreInfluence,
    SmoothGrad,
    TrainingGradient,
    TrainingIntegratedGradients,
    TrainingOcclusion,
)
from captum_tfa.curvature import fit_curvature
from captum_tfa.demo import Pictures, SmallCNN, predict, train_classifier
from captum_tfa.gradients import Gradients, StoredGradients
from captum_tfa.metrics import cue_auc, plant_twins, plant_two_cues, read_cues, saliency
from captum_tfa.metrics.masking import mean_colour
from captum_tfa.scores import InnerProduct, Score
from captum_tfa.scores.grad_cos import cosine
from common.data import cifar10, photographs, subset_of_classes
from common.networks import pretrained
from common.record import Record, interval
from common.remembering import remembered
from common.settings import settings
from common.small_architectures import small_network

run = settings(
    data="cifar10",
    photographs="",  # a folder with train/ and val/: adds the fourth set-up
    out="results",
    cache="tutorials-cache",
    classes=("dog", "ship", "automobile"),  # the cues teach the first
    per_class=1500,
    epochs=6,
    tests=6,  # pairs of twins that are asked
    mapped=16,  # training images with both cues
    samples=20,  # noisy copies, or points on a path
    fitted=1000,  # training images to which EK-FAC is fitted
    seeds=3,
    side=5,  # of the cues, in pixels
    photograph_side=128,
    network="efficientnet_lite0",  # for photographs
)
record = Record("Two cues", run.out, run)

# %% [markdown]
# ## Set-ups
#
# Squares of one colour for a network with BatchNorm and ReLU; textures for one with GroupNorm and
# SiLU; tinted blocks, through which the picture is seen, for a small vision transformer; and, if
# there are any, photographs with squares for a fine-tuned EfficientNet-Lite0.


# %%
Cues = tuple[Tensor, Tensor]
COLOURS = torch.tensor([[1.0, 0.1, 0.8], [0.1, 0.9, 0.1]])


def squares(side: int) -> Cues:
    """A pink and a green square."""
    pink, green = COLOURS[:, :, None, None].expand(2, 3, side, side)
    return pink, green


def textures(side: int) -> Cues:
    """Black and white stripes, upright and lying."""
    stripes = (torch.arange(side) % 2).float().expand(3, side, side)
    return stripes, stripes.mT


def smooth_net(classes: int) -> nn.Module:
    """The small CNN with GroupNorm and SiLU."""
    layers: list[nn.Module] = []
    for layer in SmallCNN(classes).modules():
        if isinstance(layer, nn.BatchNorm2d):
            layers.append(nn.GroupNorm(4, layer.num_features))
        elif isinstance(layer, nn.ReLU):
            layers.append(nn.SiLU())
        elif not isinstance(layer, nn.Sequential):
            layers.append(layer)
    return nn.Sequential(*layers)


class Setup(NamedTuple):
    """Which cues, seen by which network, on which pictures."""

    cues: Cues
    opacity: float
    net: Callable[[int], nn.Module]
    train: Pictures
    test: Pictures
    epochs: int
    learning_rate: float
    batch_size: int


def all_setups() -> dict[str, Setup]:
    """The set-ups by name."""
    train, test = (
        subset_of_classes(cifar10(run.data, part, run.cache), run.classes) for part in (True, False)
    )
    on = train, test, run.epochs, 4e-3, 64
    found = {
        "colours, BatchNorm": Setup(squares(run.side), 1.0, SmallCNN, *on),
        "textures, GroupNorm": Setup(textures(run.side), 1.0, smooth_net, *on),
        "tints, vision transformer": Setup(
            squares(2 * run.side),
            0.5,
            lambda classes: small_network("vit_4", classes),
            train,
            test,
            2 * run.epochs,
            1e-3,
            64,
        ),
    }
    if run.photographs:
        side = run.photograph_side
        found["photographs, EfficientNet-Lite0"] = Setup(
            squares(side // 6),
            1.0,
            lambda classes: pretrained(run.network, classes),
            photographs(run.photographs, "train", side),
            photographs(run.photographs, "val", side),
            run.epochs,
            3e-4,
            16,
        )
    return found


# %% [markdown]
# ## Scores and maps
#
# With a cosine a pixel acts in two ways: it turns the training gradient, and it makes it longer or
# shorter. The last two maps leave the second out: with the norm of the training image as it is
# (`InnerProduct`), or with the norm of each point on the path.


# %%
class NormOfEachPoint(Score):
    """A cosine in which the training gradient's norm is not differentiated."""

    def __init__(self, score: Score) -> None:
        super().__init__(score.model, score.loss_fn, score.output_fn, score.choice)
        self.score = score

    def prepared(self, tests: StoredGradients) -> StoredGradients:
        """As the score's own."""
        return self.score.prepared(tests)

    def of(self, train: Gradients, tests: StoredGradients, rows: Tensor | None) -> Tensor:
        """The cosine."""
        inner, squares, test_squares = self.compared(train, tests, rows)
        return cosine(inner, squares.detach(), test_squares)


Asked = tuple[Tensor, Tensor, Tensor]
"""A training image ``[1, C, H, W]``, a baseline, and a test image; all of the taught class."""
TAUGHT = torch.zeros(1, dtype=torch.long)


def paper(score: Score, image: Tensor, start: Tensor, test: Tensor) -> Tensor:
    """The size of the SmoothGrad map, ``[H, W]``."""
    found = SmoothGrad(TrainingGradient(score)).attribute(
        image, TAUGHT, (test, TAUGHT), run.samples
    )
    return saliency(found)[0]


def path(score: Score, image: Tensor, start: Tensor, test: Tensor) -> Tensor:
    """The positive part of integrated gradients."""
    found = TrainingIntegratedGradients(score).attribute(
        image, start, TAUGHT, (test, TAUGHT), n_steps=run.samples
    )
    return found[0].sum(0).clamp_min(0)


def covered(score: Score, image: Tensor, start: Tensor, test: Tensor) -> Tensor:
    """The positive part of occlusion."""
    found = TrainingOcclusion(score).attribute(image, start, TAUGHT, (test, TAUGHT))
    return found[0].sum(0).clamp_min(0)


HELD = "integrated gradients, norm held"
MAPS: dict[str, Callable[[Score, Tensor, Tensor, Tensor], Tensor]] = {
    "gradient (paper)": paper,
    "integrated gradients": path,
    HELD: lambda score, *asked: path(InnerProduct(score), *asked),
    "integrated gradients, norm of each point": lambda score, *asked: path(
        NormOfEachPoint(score), *asked
    ),
    "occlusion": covered,
}
MAPPED = ("grad-cos", "cosine with curvature")
"""The scores of which maps are drawn. With the norm held they are grad-dot's and influence's."""


def all_scores(model: nn.Module, train: Pictures) -> dict[str, Score]:
    """The scores by name."""
    curvature = fit_curvature(model, train, max_examples=min(run.fitted, len(train)))
    return {
        "grad-dot": GradDotScore(model),
        "grad-cos": GradCosScore(model),
        "influence": InfluenceScore(model, curvature, None),
        "cosine with curvature": InfluenceScore(model, curvature),
    }


def of_own_label(model: nn.Module, image: Tensor, start: Tensor) -> Tensor:
    """Integrated gradients of the training image's own logit: it does not see the test image."""
    found = IntegratedGradients(model).attribute(image, start, target=0, n_steps=run.samples)
    return found[0].detach().sum(0).clamp_min(0)


def features(model: nn.Module, images: Tensor) -> Tensor:
    """What goes into the last linear layer, ``[N, F]``."""
    seen: list[Tensor] = []
    last = [module for module in model.modules() if isinstance(module, nn.Linear)][-1]
    hook = last.register_forward_pre_hook(lambda module, inputs: seen.append(inputs[0]))
    try:
        with torch.no_grad():
            for part in images.split(100):
                model(part)
    finally:
        hook.remove()
    return torch.cat(seen)


def similarity(model: nn.Module, images: Tensor, tests: Tensor) -> Tensor:
    """Cosines of the last layer's centred features, ``[tests, images]``."""
    known, asked = features(model, images), features(model, tests)
    centre = known.mean(0)
    return F.normalize(asked - centre) @ F.normalize(known - centre).T


def told_apart(model: nn.Module, twins: list[Tensor]) -> float:
    """How often a linear probe of the features knows which twin it sees, on the other half."""
    both = torch.cat(twins)
    seen = features(model, both).double()
    seen = (seen - seen.mean(0)) / seen.std(0).clamp_min(1e-9)
    sign = torch.cat([torch.ones(len(twins[0])), -torch.ones(len(twins[1]))]).double()
    half = torch.arange(len(both)) % 2 == 0
    gram = seen[half].T @ seen[half] + len(both) * 0.1 * torch.eye(seen.shape[1]).double()
    weights = torch.linalg.solve(gram, seen[half].T @ sign[half])
    return float(((seen[~half] @ weights).sign() == sign[~half]).double().mean())


# %% [markdown]
# ## One run
#
# A network is trained on the planted pictures. Test images are those that it calls the taught class
# with either cue. What is true is found by training anew without the images that carry the asked
# cue, and without those that carry the other: how much of the taught class's logit, above the
# others, is lost?


# %%
def unit(pictures: Pictures) -> Tensor:
    """The pictures in [0, 1]."""
    return pictures.images.float() / 255


def planted(source: Pictures, seed: int) -> Pictures:
    """As many pictures of each class as asked."""
    order = torch.randperm(len(source), generator=torch.Generator().manual_seed(seed))
    classes = range(len(source.classes))
    chosen = [order[source.labels[order] == label][: run.per_class] for label in classes]
    return source.part(torch.cat(chosen).tolist())


def trained(setup: Setup, train: Pictures, seed: int) -> nn.Module:
    """The set-up's network, trained."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = setup.net(len(train.classes))
        return train_classifier(
            model, train, setup.epochs, setup.batch_size, setup.learning_rate, seed
        )


def margins(model: nn.Module, images: Tensor) -> Tensor:
    """The taught class's logit above the others, ``[N]``."""
    with torch.no_grad():
        logits = model(images)
    return logits[:, 0] - logits[:, 1:].logsumexp(1)


def measured(setup: Setup, seed: int) -> dict[str, Any]:
    """All that one run says: rankings, maps, and what is true."""
    plain = planted(setup.train, seed)
    cued = plant_two_cues(unit(plain), plain.labels, 0, setup.cues, seed, setup.opacity)
    train = Pictures(cued.images, cued.labels, plain.classes, None, plain.transform)
    model = trained(setup, train, seed)
    others = setup.test.part((setup.test.labels != 0).nonzero().flatten().tolist())
    twins = [
        Pictures(twin.images, twin.labels, plain.classes, None, plain.transform)
        for twin in plant_twins(unit(others), others.labels, setup.cues, seed, setup.opacity)
    ]
    said = torch.stack([predict(model, twin)[0].argmax(1) for twin in twins])
    fooled = (said == 0).all(0)
    asked = fooled.nonzero().flatten()[: run.tests].tolist()
    found: dict[str, Any] = {"fooled": float(fooled.float().mean()), "aucs": {}, "maps": {}}
    if not asked:
        return found
    seen = [torch.stack([twin[place][0] for place in asked]) for twin in twins]
    questions, start = torch.cat(seen), mean_colour(train).view(1, 3, 1, 1)
    some = range(min(200, len(others)))
    found["probe"] = told_apart(
        model, [torch.stack([twin[place][0] for place in some]) for twin in twins]
    )
    found["lost"] = lost(setup, train, cued.has, seen, margins(model, questions), seed)

    of_class = (cued.labels == 0).nonzero().flatten()
    members = torch.stack([train[int(index)][0] for index in of_class])
    scores = all_scores(model, train)
    tables = {"features": similarity(model, members, questions)}
    zeros = TAUGHT.expand(len(questions))
    for name, score in scores.items():
        ranking = ScoreInfluence(score, [(image, 0) for image in members])
        tables[name] = ranking.influence((questions, zeros))
    for name, table in tables.items():
        found["aucs"][name] = [
            cue_auc(values, cued.has[of_class, row // len(asked)])
            for row, values in enumerate(table)
        ]
        print(name, interval(found["aucs"][name]), flush=True)

    both = cued.both[: run.mapped]
    mapped, inside = [train[int(index)][0][None] for index in both], cued.inside[both]
    start = start.expand_as(mapped[0])
    for name in MAPPED:
        for kind, draw in MAPS.items():
            heats = [
                torch.stack(
                    [
                        draw(scores[name], image, start, tests[[place % len(asked)]])
                        for place, image in enumerate(mapped)
                    ]
                )
                for tests in seen
            ]
            found["maps"][f"{name}: {kind}"] = reading(heats[0], heats[1], inside)
    own = torch.stack([of_own_label(model, image, start) for image in mapped])
    found["maps"]["own label: integrated gradients"] = reading(own, own, inside)
    found["area"] = float(inside.double().mean())
    return found


def reading(asked_a: Tensor, asked_b: Tensor, inside: Tensor) -> list[float]:
    """Own share, moves right and mass."""
    found = read_cues(asked_a, asked_b, inside)
    print(found, flush=True)
    return [found.own_share.mean, found.moves_right.mean, found.mass.mean]


def lost(
    setup: Setup, train: Pictures, has: Tensor, seen: list[Tensor], before: Tensor, seed: int
) -> dict[str, float]:
    """What a test image's margin loses without the images of a cue, the mean over both cues."""
    drops = {"asked": 0.0, "other": 0.0}
    for cue in (0, 1):
        rest = train.part((~has[:, cue]).nonzero().flatten().tolist())
        after = margins(trained(setup, rest, seed), torch.cat(seen))
        changes = (before - after).view(2, -1).mean(1)
        drops["asked"] += float(changes[cue]) / 2
        drops["other"] += float(changes[1 - cue]) / 2
    return drops


SETUPS = all_setups()
asked_of = {
    key: value
    for key, value in vars(run).items()
    if key not in ("out", "cache", "seeds", "data", "photographs")
}
found: dict[str, list[dict[str, Any]]] = {name: [] for name in SETUPS}
for seed in range(run.seeds):
    for name, setup in SETUPS.items():
        print(f"{name}, seed {seed}", flush=True)
        file = (
            Path(run.cache)
            / "two_cues"
            / f"{name.replace(', ', '-').replace(' ', '-')}-{seed}.json"
        )
        key = {**asked_of, "pictures": len(setup.train)}
        found[name].append(remembered(file, key, partial(measured, setup, seed)))

# %% [markdown]
# ## What came out

# %%
record.say(
    "Does a ranking of the taught class put the training images first that carry the asked cue? "
    "And does the map of an image with both cues lie in the asked one? Means over seeds; all of it "
    "is our own finding. The margin is the taught class's logit above the others; it is lost after "
    "a training without the images that carry the asked cue, or the other one."
)


def mean(values: list[float]) -> float:
    """The mean; NaN of none."""
    return float(torch.tensor(values).mean())


def over_seeds(values: list[float]) -> str:
    """The mean, with its interval if there are several seeds."""
    return str(interval(values)) if len(values) > 1 else f"{mean(values):.3g}"


record.table(
    [
        "set-up",
        "test images that both cues fool",
        "twins told apart by a linear probe",
        "margin lost without the asked cue",
        "without the other cue",
    ],
    [
        [
            name,
            mean([one["fooled"] for one in runs]),
            mean([one["probe"] for one in runs if "probe" in one]),
            mean([one["lost"]["asked"] for one in runs if "lost" in one]),
            mean([one["lost"]["other"] for one in runs if "lost" in one]),
        ]
        for name, runs in found.items()
    ],
)

# %%
record.say(
    "## Rankings\n\nAUC of “carries the asked cue”, 0.5 by chance: mean and 95 % interval over "
    "seeds."
)
kinds = ("features", "grad-dot", "grad-cos", "influence", "cosine with curvature")
record.table(
    ["set-up", *kinds],
    [
        [
            name,
            *[
                over_seeds([mean(one["aucs"][kind]) for one in runs if one["aucs"]])
                for kind in kinds
            ],
        ]
        for name, runs in found.items()
    ],
)

# %%
record.say(
    "## Maps\n\nMean and 95 % interval over seeds of means over training images. By chance the own "
    "share and moves right are 0.5, and the mass is the cue's area."
)
for name, runs in found.items():
    runs = [one for one in runs if one["maps"]]
    if not runs:
        continue
    record.say(f"### {name}\n\nThe cue's area is {mean([one['area'] for one in runs]):.3f}.")
    record.table(
        ["score: map", "own share", "moves right", "mass"],
        [
            [kind, *[over_seeds([one["maps"][kind][place] for one in runs]) for place in range(3)]]
            for kind in runs[0]["maps"]
        ],
    )
record.save()
