# %% [markdown]
# # Along the training: digits and a table
#
# XtrAIn attributes an output to the updates of each feature's own weights, along the training,
# instead of covering the feature. Is that better than what asks the trained model alone?
# Scikit-learn's digits, 8 x 8 pixels, and the same on canvases of 28 x 28 where we know the
# signal's place: on noise, on textures, and at changing places. Multilayer perceptrons; XtrAIn and
# its variants against Captum's integrated gradients, DeepLift, occlusion, GradientShap, saliency.
#
# - **CleanScore**: the share of the attribution's size in the digit's frame. Its controls: the same
#   map squared, and a map that never ran the model (size of the weights' change times the pixel).
# - **Deletion, insertion**: the class's probability while the highest pixels are taken out (or put
#   in), the mean over all parts; pixels taken out are the training set's mean.
# - **ROAR**: the share of pixels with the largest attributions is taken out of *all* images, and a
#   new network is trained on the rest. The lower its accuracy, the more was found.
# - **Time** of an image.
#
# Then a table, scikit-learn's breast cancer data: a network that is made to learn one class only.
# XtrAIn+ should give the other class no importance.

# %%
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import torch
from captum.attr import DeepLift, GradientShap, IntegratedGradients, Occlusion, Saliency
from sklearn.datasets import load_breast_cancer, load_digits
from torch import Tensor, nn

from captum_tfa import IntegratedXtrAIn, Trajectory, Xstep, XtrAIn, XtrAInPlus
from captum_tfa.metrics.clean_score import clean_score, clean_score_chance, sharpened
from common.record import Record, interval
from common.remembering import remembered
from common.settings import settings

run = settings(
    out="results",
    cache="tutorials-cache",
    seeds=5,
    train=1200,
    epochs=10,
    explained=8,  # test images that are attributed on each canvas
    roar_train=400,
    roar_tests=200,
    roar_share=(0.3, 0.5),  # of the pixels that are taken out
    spacings=(5, 20),  # of Xstep, in steps
    points=4,  # of the integrated form
)
record = Record("XtrAIn on digits and a table", run.out, run)

# %% [markdown]
# ## Data
#
# A digit on a canvas is 16 x 16 pixels large (each pixel twice as wide and high).


# %%
Images = tuple[Tensor, Tensor, Tensor]
"""Images ``[N, H, W]`` in [0, 1], labels, and where the digit is, boolean ``[N, H, W]``."""


def digits(seed: int) -> tuple[Tensor, Tensor]:
    images, labels = load_digits(return_X_y=True)
    order = torch.randperm(len(labels), generator=torch.Generator().manual_seed(seed))
    return torch.tensor(images).float().view(-1, 8, 8)[order] / 16, torch.tensor(labels)[order]


def textures(count: int, draw: torch.Generator) -> Tensor:
    """Waves of random direction, length and phase."""
    angle, length, phase = torch.rand(3, count, 1, 1, generator=draw)
    y, x = torch.meshgrid(torch.arange(28.0), torch.arange(28.0), indexing="ij")
    way = x * torch.cos(6.28 * angle) + y * torch.sin(6.28 * angle)
    return 0.5 + 0.5 * torch.sin(6.28 * (way / (3 + 6 * length) + phase))


def on_canvas(kind: str, seed: int) -> Images:
    small, labels = digits(seed)
    if kind == "8x8":
        return small, labels, torch.ones_like(small, dtype=torch.bool)
    draw = torch.Generator().manual_seed(1000 + seed)
    count = len(labels)
    large = small.repeat_interleave(2, 1).repeat_interleave(2, 2)
    canvas = torch.zeros(count, 28, 28)
    if kind == "noisy":
        canvas = 0.6 * torch.rand(count, 28, 28, generator=draw)
    if kind == "textured":
        canvas = 0.6 * textures(count, draw)
    corners = torch.full((count, 2), 6)
    if kind == "shifted":
        corners = torch.randint(0, 13, (count, 2), generator=draw)
    region = torch.zeros(count, 28, 28, dtype=torch.bool)
    for image, inside, digit, (top, left) in zip(canvas, region, large, corners, strict=True):
        place = (slice(int(top), int(top) + 16), slice(int(left), int(left) + 16))
        image[place] = torch.maximum(image[place], digit)
        inside[place] = True
    return canvas, labels, region


# %% [markdown]
# ## Training
#
# SGD with momentum; every state is kept.


# %%
def network(size: int, classes: int, seed: int) -> nn.Module:
    torch.manual_seed(seed)
    widths = (64, 32) if size > 30 else (16, 8)
    return nn.Sequential(
        nn.Flatten(),
        nn.Linear(size, widths[0]),
        nn.ReLU(),
        nn.Linear(widths[0], widths[1]),
        nn.ReLU(),
        nn.Linear(widths[1], classes),
    )


def trained(
    x: Tensor, y: Tensor, classes: int, seed: int, rate: float = 0.05, keep: bool = True
) -> tuple[nn.Module, list[dict[str, Tensor]]]:
    model = network(x[0].numel(), classes, seed)
    optimizer = torch.optim.SGD(model.parameters(), rate, momentum=0.9)
    draw = torch.Generator().manual_seed(seed)
    states = []

    def note() -> None:
        if keep:
            states.append({name: one.clone() for name, one in model.state_dict().items()})

    note()
    for _ in range(run.epochs):
        for rows in torch.randperm(len(y), generator=draw).split(64):
            optimizer.zero_grad()
            nn.functional.cross_entropy(model(x[rows]), y[rows]).backward()
            optimizer.step()
            note()
    return model.eval(), states


def accuracy(model: nn.Module, x: Tensor, y: Tensor) -> float:
    with torch.no_grad():
        return float((model(x).argmax(1) == y).double().mean())


# %% [markdown]
# ## Methods
#
# All of them explain the logit of the class that the network predicts. What covers, and where
# paths begin, is the training set's mean image; GradientShap draws from twenty training images.

# %%
Method = Callable[[Tensor, Tensor], Tensor]


def methods(model: nn.Module, states: list[dict[str, Tensor]], train: Tensor) -> dict[str, Method]:
    trajectory = Trajectory(states)
    mean = train.mean(0, keepdim=True)
    side = train.shape[-1]
    change = (states[-1]["1.weight"] - states[0]["1.weight"]).norm(dim=0).view(mean.shape)
    window = (max(2, side // 7),) * 2

    def shap(x: Tensor, target: Tensor) -> Tensor:
        with torch.random.fork_rng():
            torch.manual_seed(0)
            return GradientShap(model).attribute(x, train[:20], n_samples=20, target=target)

    def drawn(x: Tensor, target: Tensor) -> Tensor:
        return torch.rand(x.shape, generator=torch.Generator().manual_seed(0))

    along: dict[str, Any] = {
        "XtrAIn": XtrAIn(model, trajectory),
        "XtrAIn+": XtrAInPlus(model, trajectory),
        **{f"Xstep, every {n}": Xstep(model, trajectory, n) for n in run.spacings},
        "Xstep, first and last": Xstep(model, trajectory, [0, trajectory.steps[-1]]),
        "integrated XtrAIn": IntegratedXtrAIn(model, trajectory, run.points),
    }
    return {
        **{name: partial(_along, method) for name, method in along.items()},
        "integrated gradients": lambda x, t: IntegratedGradients(model).attribute(
            x, mean, target=t, n_steps=20
        ),
        "DeepLift": lambda x, t: DeepLift(model).attribute(x, mean, target=t).detach(),
        "occlusion, 1 pixel": lambda x, t: Occlusion(model).attribute(
            x, (1, 1), target=t, baselines=mean, perturbations_per_eval=256
        ),
        f"occlusion, {window[0]}x{window[0]}": lambda x, t: Occlusion(model).attribute(
            x, window, target=t, baselines=mean, perturbations_per_eval=256
        ),
        "GradientShap": shap,
        "saliency": lambda x, t: Saliency(model).attribute(x, t),
        "control: change of weights x pixel": lambda x, t: change * x,
        "control: random": drawn,
    }


def _along(method: Any, x: Tensor, target: Tensor) -> Tensor:
    found: Tensor = method.attribute(x, target=target)
    return found


# %% [markdown]
# ## Measures


# %%
def curves(model: nn.Module, x: Tensor, target: Tensor, maps: Tensor, mean: Tensor) -> list[float]:
    """Deletion and insertion: the mean probability over 0 %, 10 %, ... 100 % of the pixels."""
    ranks = maps.flatten(1).argsort(1, descending=True).argsort(1).view(x.shape)
    pixels = x[0].numel()
    sums = [0.0, 0.0]
    for tenth in range(11):
        top = ranks < round(pixels * tenth / 10)
        for which, kept in enumerate((~top, top)):
            with torch.no_grad():
                said = model(torch.where(kept, x, mean)).softmax(1)
            sums[which] += float(said.gather(1, target[:, None]).mean()) / 11
    return sums


def measured(kind: str, seed: int) -> dict[str, Any]:
    x, y, region = on_canvas(kind, seed)
    train, labels = x[: run.train], y[: run.train]
    model, states = trained(train, labels, 10, seed)
    tests = x[run.train : run.train + run.explained]
    inside = region[run.train : run.train + run.explained]
    target = model(tests).argmax(1)
    mean = train.mean(0, keepdim=True)
    found: dict[str, Any] = {
        "accuracy": accuracy(model, x[run.train :], y[run.train :]),
        "steps": len(states) - 1,
        "of": {},
    }
    for name, method in methods(model, states, train).items():
        began = time.perf_counter()
        maps = method(tests, target).detach()
        one: dict[str, Any] = {"seconds": (time.perf_counter() - began) / len(tests)}
        one["deletion"], one["insertion"] = curves(model, tests, target, maps, mean)
        if kind != "8x8":
            one["clean"] = float(clean_score(maps, inside).mean())
            one["clean squared"] = float(clean_score(sharpened(maps), inside).mean())
        found["of"][name] = one
    if kind != "8x8":
        found["chance"] = float(clean_score_chance(inside, tests).mean())
    print(kind, seed, found, flush=True)
    return found


def roar(seed: int) -> dict[str, Any]:
    """Accuracy of new networks without the pixels of the largest attributions, 8 x 8."""
    x, y, _ = on_canvas("8x8", seed)
    x, y = x[: run.roar_train + run.roar_tests], y[: run.roar_train + run.roar_tests]
    train, labels = x[: run.roar_train], y[: run.roar_train]
    model, states = trained(train, labels, 10, seed)
    target = model(x).argmax(1)
    mean = train.mean(0, keepdim=True)
    found: dict[str, Any] = {}
    for name, method in methods(model, states, train).items():
        parts = zip(x.split(200), target.split(200), strict=True)
        maps = torch.cat([method(*part).detach() for part in parts])
        ranks = maps.abs().flatten(1).argsort(1, descending=True).argsort(1).view(x.shape)
        for share in run.roar_share:
            left = torch.where(ranks < round(64 * share), mean, x)
            again, _ = trained(left[: run.roar_train], labels, 10, 100 + seed, keep=False)
            right = accuracy(again, left[run.roar_train :], y[run.roar_train :])
            found.setdefault(name, []).append(right)
    print("roar", seed, found, flush=True)
    return found


# %% [markdown]
# ## The table: one class only
#
# A network that sees both classes, and one that sees the examples of one class alone. For each, how
# much importance XtrAIn+ gives to each class's logit: the sum over features, the mean over test
# examples. Beside it the same where a *step* is left out as a whole when it lowered the logit.


# %%
def table(seed: int) -> dict[str, Any]:
    x, y = load_breast_cancer(return_X_y=True)
    order = torch.randperm(len(y), generator=torch.Generator().manual_seed(seed))
    x, y = torch.tensor(x).float()[order], torch.tensor(y)[order]
    x = (x - x[:400].mean(0)) / x[:400].std(0)
    tests, wanted = x[400:460], y[400:460]
    found: dict[str, Any] = {}
    for name, seen in (("both classes", y[:400] >= 0), ("class 0 only", y[:400] == 0)):
        model, states = trained(x[:400][seen], y[:400][seen], 2, seed, rate=0.01)
        trajectory = Trajectory(states)
        found[name] = {"accuracy": accuracy(model, x[400:], y[400:])}
        for label in (0, 1):
            plus = XtrAInPlus(model, trajectory).attribute(tests, target=label)
            whole = torch.zeros_like(tests)
            logits = [_logit(model, state, tests, label) for state in states]
            steps = XtrAIn(model, trajectory).steps(tests, target=label)
            for number, step in enumerate(steps):
                rose = logits[number + 1] > logits[number]
                whole += torch.where(rose[:, None], step, torch.zeros_like(step)).clamp_min(0)
            found[name][f"logit {label}"] = [
                float(plus.sum(1).mean()),
                float(whole.sum(1).mean()),
                float((logits[-1] - logits[0]).mean()),
            ]
    model, states = trained(x[:400], y[:400], 2, seed, rate=0.01)
    mean = x[:400].mean(0, keepdim=True)
    target = model(tests).argmax(1)
    for name, method in methods_of_table(model, states, mean).items():
        found.setdefault("of", {})[name] = curves(model, tests, target, method(tests, target), mean)
    print("table", seed, found, float((wanted == target).double().mean()), flush=True)
    return found


def _logit(model: nn.Module, state: dict[str, Tensor], x: Tensor, label: int) -> Tensor:
    with torch.no_grad():
        out: Tensor = torch.func.functional_call(model, state, (x,))
    return out[:, label]


def methods_of_table(
    model: nn.Module, states: list[dict[str, Tensor]], mean: Tensor
) -> dict[str, Method]:
    trajectory = Trajectory(states)
    return {
        "XtrAIn": partial(_along, XtrAIn(model, trajectory)),
        "XtrAIn+": partial(_along, XtrAInPlus(model, trajectory)),
        "integrated XtrAIn": partial(_along, IntegratedXtrAIn(model, trajectory, run.points)),
        "integrated gradients": lambda x, t: IntegratedGradients(model).attribute(
            x, mean, target=t, n_steps=20
        ),
        "occlusion, 1 feature": lambda x, t: Occlusion(model).attribute(
            x, (1,), target=t, baselines=mean
        ),
        "control: random": lambda x, t: torch.rand(
            x.shape, generator=torch.Generator().manual_seed(0)
        ),
    }


# %%
KINDS = ("8x8", "noisy", "textured", "shifted")
key = {name: value for name, value in vars(run).items() if name not in ("out", "cache", "seeds")}
place = Path(run.cache) / "xtrain_digits"
SEEDS = range(run.seeds)
tables = [remembered(place / f"table-{seed}.json", key, partial(table, seed)) for seed in SEEDS]
canvases: dict[str, list[dict[str, Any]]] = {kind: [] for kind in KINDS}
roars = []
for seed in SEEDS:
    for kind in KINDS:
        file = place / f"{kind}-{seed}.json"
        canvases[kind].append(remembered(file, key, partial(measured, kind, seed)))
    roars.append(remembered(place / f"roar-{seed}.json", key, partial(roar, seed)))

# %% [markdown]
# ## What came out


# %%
def told(values: list[float]) -> str:
    """The mean, with its interval over seeds if there are several."""
    return str(interval(values)) if len(values) > 1 else f"{values[0]:.3g}"


record.say(
    "Means over test images, then over seeds (network, split and canvas), with 95 % intervals over "
    "seeds. Low deletion, high insertion and high CleanScore are meant to be good."
)
for kind, runs in canvases.items():
    first = runs[0]
    record.say(
        f"## {kind}\n\nAccuracy {told([one['accuracy'] for one in runs])}; {first['steps']} steps."
        + (f" Chance for CleanScore is {first['chance']:.3f}." if "chance" in first else "")
    )
    columns = ["deletion", "insertion"] + (["clean", "clean squared"] if "chance" in first else [])
    titles = {
        "clean": "CleanScore",
        "clean squared": "CleanScore of the map squared",
    }
    record.table(
        ["method", *[titles.get(one, one) for one in columns], "ms an image"],
        [
            [
                name,
                *[told([one["of"][name][column] for one in runs]) for column in columns],
                1000 * sum(one["of"][name]["seconds"] for one in runs) / len(runs),
            ]
            for name in first["of"]
        ],
    )

# %%
record.say(
    "## Training without the pixels (8x8)\n\nAccuracy of new networks; the lower, the more of what "
    "is needed was found."
)
record.table(
    ["method", *[f"without {share:.0%}" for share in run.roar_share]],
    [
        [name, *[told([one[name][place] for one in roars]) for place in range(len(run.roar_share))]]
        for name in roars[0]
    ],
)

# %%
record.say(
    "## A table: one class only\n\nImportance that XtrAIn+ gives to each class's logit in all; and "
    "if only steps count that raised the logit as a whole; and how far the logit moved in training."
)
record.table(
    ["trained on", "logit of", "XtrAIn+", "steps that raised the logit", "change of the logit"],
    [
        [name, label, *[told([one[name][f"logit {label}"][k] for one in tables]) for k in range(3)]]
        for name in ("both classes", "class 0 only")
        for label in (0, 1)
    ],
)
record.table(
    ["method (trained on both)", "deletion", "insertion"],
    [
        [name, *[told([one["of"][name][k] for one in tables]) for k in range(2)]]
        for name in tables[0]["of"]
    ],
)


# %% [markdown]
# ## Pictures: how the evidence forms


# %%
def drawn(maps: Tensor) -> Any:
    limit = float(maps.abs().max()) or 1.0
    return {"cmap": "seismic", "vmin": -limit, "vmax": limit}


fig, axes = plt.subplots(len(KINDS) - 1, 8, figsize=(13, 5.2))
for row, kind in zip(axes, KINDS[1:], strict=True):
    x, y, _ = on_canvas(kind, 0)
    model, states = trained(x[: run.train], y[: run.train], 10, 0)
    image = x[run.train : run.train + 1]
    target = model(image).argmax(1)
    steps = list(XtrAIn(model, Trajectory(states)).steps(image, target=target))
    sums = torch.stack(steps).cumsum(0)
    places = [round((len(sums) - 1) * part) for part in (0.02, 0.1, 0.3, 1.0)]
    known = methods(model, states, x[: run.train])
    pictures = [(f"after {place + 1} steps", sums[place][0]) for place in places]
    pictures += [
        (name, known[name](image, target).detach()[0])
        for name in ("integrated XtrAIn", "integrated gradients", "occlusion, 1 pixel")
    ]
    row[0].imshow(image[0], cmap="gray")
    row[0].set_title(kind, fontsize=9)
    for axis, (name, map) in zip(row[1:], pictures, strict=True):
        axis.imshow(map, **drawn(map))
        axis.set_title(name, fontsize=8)
    for axis in row:
        axis.axis("off")
record.figure(
    fig,
    "forming",
    "A test digit on each canvas; XtrAIn summed up to a step; three other maps. Red: for it.",
)
record.save()
