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

import torch
import torch.nn.functional as F
from captum.attr import IntegratedGradients
from torch import Tensor, nn

from captum_tfa import GradCosScore, GradDotScore, InfluenceScore, ScoreInfluence, TrainingGradient
from captum_tfa.curvature import fit_curvature
from captum_tfa.demo import Pictures, SmallCNN, predict, train_classifier
from captum_tfa.metrics import cue_auc, plant_twins, plant_two_cues, read_cues
from captum_tfa.metrics.masking import mean_colour
from captum_tfa.report.mapping import random_state_kept
from captum_tfa.report.methods import METHODS, Task
from captum_tfa.scores import Score
from common.data import cifar10, subset_of_classes
from common.record import Record, interval
from common.settings import settings

run = settings(
    data="cifar10",
    out="results",
    cache="tutorials-cache",
    classes=("dog", "ship", "automobile"),  # the cues teach the first
    per_class=1500,
    epochs=6,
    tests=6,  # pairs of twins that are asked
    mapped=24,  # training images with both cues
    samples=20,  # noisy copies, or points on a path
    fitted=1000,  # training images to which EK-FAC is fitted
    seeds=2,
    side=5,  # of the cues, in pixels
)
record = Record("Two cues", run.out, run)

# %% [markdown]
# ## Two set-ups
#
# Squares of one colour for a network with BatchNorm and ReLU; textures for one with GroupNorm and
# SiLU.


# %%
def squares() -> tuple[Tensor, Tensor]:
    """A pink and a green square."""
    colours = torch.tensor([[1.0, 0.1, 0.8], [0.1, 0.9, 0.1]])
    pink, green = colours[:, :, None, None].expand(2, 3, run.side, run.side)
    return pink, green


def textures() -> tuple[Tensor, Tensor]:
    """Black and white stripes, upright and lying."""
    stripes = (torch.arange(run.side) % 2).float().expand(3, run.side, run.side)
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


SETUPS: dict[str, tuple[Callable[[], tuple[Tensor, Tensor]], Callable[[int], nn.Module]]] = {
    "colours, BatchNorm": (squares, SmallCNN),
    "textures, GroupNorm": (textures, smooth_net),
}
MAPS = ("gradient", "gradient_x_input", "integrated_gradients", "occlusion")
SCORES: dict[str, Callable[[nn.Module, Pictures], Score]] = {
    "grad-dot": lambda model, train: GradDotScore(model),
    "grad-cos": lambda model, train: GradCosScore(model),
    "cosine with curvature": lambda model, train: InfluenceScore(
        model, fit_curvature(model, train, max_examples=min(run.fitted, len(train)))
    ),
    "influence": lambda model, train: InfluenceScore(
        model, fit_curvature(model, train, max_examples=min(run.fitted, len(train))), None
    ),
}

# %% [markdown]
# ## One run
#
# A network is trained on the planted pictures. Test images are those that it calls the taught class
# with either cue. Maps without noise have none; the others have a tenth of the image's range.


# %%
def planted(source: Pictures, seed: int) -> Pictures:
    """As many pictures of each class as asked."""
    draw = torch.Generator().manual_seed(seed)
    order = torch.randperm(len(source), generator=draw)
    chosen = [order[source.labels[order] == label][: run.per_class] for label in range(3)]
    return source.part(torch.cat(chosen).tolist())


def heat(name: str, score: Score, image: Tensor, test: Tensor, colour: Tensor) -> Tensor:
    """What a map of an image of the taught class shows, ``[H, W]``."""
    method, asked = METHODS[name], torch.zeros(1, dtype=torch.long)
    noisy = name in ("gradient", "gradient_x_input")
    spread = 0.1 * float(image.max() - image.min()) if noisy else 0.0
    task = Task(
        image[None],
        asked,
        (test[None], asked),
        TrainingGradient(score),
        colour.view(1, 3, 1, 1).expand_as(image[None]),
        run.samples,
        spread,
        None,
    )
    with random_state_kept(image.device):
        torch.manual_seed(0)
        return method.heat(method.draw(task)[0].detach(), 1.0)


def of_own_label(model: nn.Module, image: Tensor, colour: Tensor) -> Tensor:
    """Integrated gradients of the training image's own logit: it does not see the test image."""
    start = colour.view(1, 3, 1, 1).expand_as(image[None])
    found = IntegratedGradients(model).attribute(image[None], start, target=0, n_steps=run.samples)
    return found[0].detach().sum(0).clamp_min(0)


def similarity(model: nn.Sequential, images: Tensor, tests: Tensor) -> Tensor:
    """Cosines of the last layer's centred features, ``[tests, images]``."""
    with torch.no_grad():
        features, asked = model[:-1](images), model[:-1](tests)
    centre = features.mean(0)
    return F.normalize(asked - centre) @ F.normalize(features - centre).T


rows: dict[tuple[str, str, str], list[tuple[float, float, float]]] = {}
aucs: dict[tuple[str, str], list[float]] = {}
facts: list[str] = []
source, held_out = (
    subset_of_classes(cifar10(run.data, part, run.cache), run.classes) for part in (True, False)
)
others = held_out.part((held_out.labels != 0).nonzero().flatten().tolist())


def unit(pictures: Pictures) -> Tensor:
    """The pictures in [0, 1]."""
    return pictures.images.float() / 255


def note(setup: str, name: str, kind: str, heats: list[Tensor], inside: Tensor) -> None:
    """Keeps what maps for A and for B say, and shows it at once."""
    found = read_cues(heats[0], heats[1], inside)
    means = found.own_share.mean, found.moves_right.mean, found.mass.mean
    rows.setdefault((setup, name, kind), []).append(means)
    print(setup, name, kind, found, flush=True)


for setup, (make_cues, make_net) in SETUPS.items():
    for seed in range(run.seeds):
        plain = planted(source, seed)
        cued = plant_two_cues(unit(plain), plain.labels, 0, make_cues(), seed)
        train = Pictures(cued.images, cued.labels, run.classes, None, plain.transform)
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            model = train_classifier(make_net(3), train, run.epochs, seed=seed)
        twins = [
            Pictures(twin.images, twin.labels, run.classes, None, plain.transform)
            for twin in plant_twins(unit(others), others.labels, make_cues(), seed)
        ]
        said = torch.stack([predict(model, twin)[0].argmax(1) for twin in twins])
        fooled = (said == 0).all(0)
        share = f"both cues fool it on {float(fooled.float().mean()):.0%}"
        facts.append(f"{setup}, seed {seed}: {share}")
        asked = fooled.nonzero().flatten()[: run.tests].tolist()
        if not asked:
            continue
        seen = [torch.stack([twin[place][0] for place in asked]) for twin in twins]
        questions, colour = torch.cat(seen), mean_colour(train)
        of_class = (cued.labels == 0).nonzero().flatten()
        members = torch.stack([train[int(index)][0] for index in of_class])
        both = cued.both[: run.mapped]
        mapped, inside = [train[int(index)][0] for index in both], cued.inside[both]

        tables = {"features": similarity(model, members, questions)}
        scores = {name: make_score(model, train) for name, make_score in SCORES.items()}
        zeros = torch.zeros(len(questions), dtype=torch.long)
        for name, score in scores.items():
            ranking = ScoreInfluence(score, [(image, 0) for image in members])
            tables[name] = ranking.influence((questions, zeros))
        for name, table in tables.items():
            for row, values in enumerate(table):
                has = cued.has[of_class, row // len(asked)]
                aucs.setdefault((setup, name), []).append(cue_auc(values, has))
        for name, score in scores.items():
            for kind in MAPS:
                heats = [
                    torch.stack(
                        [
                            heat(kind, score, image, tests[place % len(asked)], colour)
                            for place, image in enumerate(mapped)
                        ]
                    )
                    for tests in seen
                ]
                note(setup, name, kind, heats, inside)
        own = torch.stack([of_own_label(model, image, colour) for image in mapped])
        note(setup, "own label", "integrated_gradients", [own, own], inside)

# %% [markdown]
# ## Rankings

# %%
record.say(
    "Does a ranking of the taught class put the training images first that carry the asked cue? "
    "And does the map of an image with both cues lie in the asked one? "
    f"{'; '.join(facts)}. Everything here is our own finding."
)
record.say("## Rankings\n\nAUC of “carries the asked cue”, over test images and seeds.")
record.table(
    ["set-up", "score", "AUC"],
    [[setup, name, str(interval(values))] for (setup, name), values in aucs.items()],
)

# %% [markdown]
# ## Maps

# %%
record.say(
    "## Maps\n\nMeans over seeds of means over training images. By chance the own share and moves "
    f"right are 0.5, and the mass is the cue's area, {run.side**2 / 32**2:.3f}."
)
record.table(
    ["set-up", "score", "map", "own share", "moves right", "mass"],
    [
        [setup, name, kind, *torch.tensor(values).mean(0).tolist()]
        for (setup, name, kind), values in rows.items()
    ],
)
record.save()
