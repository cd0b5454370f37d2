# %% [markdown]
# # When was it learned, from which picture, from which part, into which layer?
#
# A step of SGD is a sum over the examples of its batch, and over the parameters that it moves. So
# what a training did to one output splits exactly: over steps, over training examples, over layers
# and the input's features. Digits of 8 x 8 pixels with a planted cue: a bright bar in the corner of
# half of the threes. A test digit of another class with the bar is called a three. Here the answer
# to all four questions is known: the bar, in the threes that carry it.

# %%
from collections.abc import Callable
from tempfile import TemporaryDirectory
from typing import Any

import matplotlib.pyplot as plt
import torch
from sklearn.datasets import load_digits
from torch import Tensor, nn
from torch.utils.data import TensorDataset

from captum_tfa import (
    IntegratedXtrAIn,
    LearnedFrom,
    TracInScore,
    TrainingGradientXInput,
    TrainingIntegratedGradients,
    TrainingOcclusion,
    Trajectory,
    TrajectoryRecorder,
)
from captum_tfa.attr.along_training import by_layer
from captum_tfa.metrics.localisation import share_of_positive_inside
from common.record import Record, interval
from common.settings import settings

run = settings(
    out="results",
    train=600,
    epochs=12,
    batch=32,
    rate=0.2,
    mapped=12,  # pairs of step and example that are mapped
    seeds=3,
)
record = Record("When it was learned, from what, and into what", run.out, run)
THREE, BAR = 3, (slice(0, 2), slice(0, 2))
inside = torch.zeros(8, 8, dtype=torch.bool)
inside[BAR] = True


def data(seed: int) -> tuple[TensorDataset, Tensor, Tensor]:
    """Training digits, which of them carry the bar, and test digits of other classes with it."""
    images, labels = load_digits(return_X_y=True)
    order = torch.randperm(len(labels), generator=torch.Generator().manual_seed(seed))
    x, y = torch.tensor(images).float().view(-1, 8, 8)[order] / 16, torch.tensor(labels)[order]
    train, tests = x[: run.train].clone(), x[run.train :].clone()
    y, wanted = y[: run.train], y[run.train :]
    threes = (y == THREE).nonzero().flatten()
    cued = torch.zeros(run.train, dtype=torch.bool)
    cued[threes[::2]] = True
    train[cued, BAR[0], BAR[1]] = 1.0
    tests[:, BAR[0], BAR[1]] = 1.0
    return TensorDataset(train, y), cued, tests[wanted != THREE]


def trained(train: TensorDataset, seed: int, folder: str) -> tuple[nn.Module, Trajectory]:
    torch.manual_seed(seed)
    layers = [nn.Flatten(), nn.Linear(64, 32), nn.Tanh(), nn.Linear(32, 16), nn.Tanh()]
    model = nn.Sequential(*layers, nn.Linear(16, 10))
    optimizer = torch.optim.SGD(model.parameters(), run.rate)
    draw = torch.Generator().manual_seed(seed)
    x, y = train.tensors
    with TrajectoryRecorder(model, optimizer, folder) as recorder:
        for _ in range(run.epochs):
            for rows in torch.randperm(len(y), generator=draw).split(run.batch):
                recorder.batch(rows)
                optimizer.zero_grad()
                nn.functional.cross_entropy(model(x[rows]), y[rows]).backward()
                optimizer.step()
    return model.eval(), Trajectory.open(folder)


# %% [markdown]
# ## One training, asked four ways
#
# The example's share at a step is, to first order, a TracIn score of that state for the logit: the
# maps of scores say where in the example it comes from.

# %%
MAPS: dict[str, Callable[..., Tensor]] = {
    "occlusion": lambda score, *asked: TrainingOcclusion(score).attribute(
        asked[0], 0.0, *asked[1:], (2, 2), (1, 1)
    ),
    "gradient x pixel": lambda score, *asked: TrainingGradientXInput(score).attribute(
        asked[0], 0.0, *asked[1:]
    ),
    "integrated gradients": lambda score, *asked: TrainingIntegratedGradients(score).attribute(
        asked[0], 0.0, *asked[1:], n_steps=10
    ),
}


# %%
def asked(seed: int, folder: str) -> dict[str, Any]:
    train, cued, tests = data(seed)
    model, trajectory = trained(train, seed, folder)
    without = tests.clone()
    without[:, BAR[0], BAR[1]] = 0.0
    with torch.no_grad():
        taken = (model(tests).argmax(1) == THREE) & (model(without).argmax(1) != THREE)
    fooled = taken.nonzero().flatten()
    test = tests[fooled[:1]]
    learned = LearnedFrom(model, trajectory, train)
    steps = list(learned.by_step(test, THREE))
    table = torch.zeros(len(steps), run.train)
    for number, step in enumerate(steps):
        table[number, step.indices] += step.shares[0]
    parts = [
        by_layer(one)
        for one in IntegratedXtrAIn(model, trajectory, 2).contributions_by_step(test, THREE)
    ]
    with torch.no_grad():
        out = [torch.func.functional_call(model, trajectory[place], test) for place in (0, -1)]
    change = float((out[1] - out[0])[0, THREE])
    own = table * cued  # the digits with the bar
    first = -(-run.train // run.batch)
    maps: dict[str, list[Tensor]] = {}
    where: dict[str, list[tuple[int, int]]] = {}
    for when, part in (("first epoch", own[:first]), ("whole training", own)):
        for place in part.flatten().topk(run.mapped).indices.tolist():
            number, index = divmod(place, run.train)
            rate = run.rate / len(steps[number].indices)
            score = TracInScore(model, [trajectory[number]], [rate], measure_fn="logit")
            image, label = train[index]
            for name, draw in MAPS.items():
                map = draw(score, image[None], label, (test, torch.tensor([THREE])))
                maps.setdefault(f"{name}, {when}", []).append(map[0])
            where.setdefault(when, []).append((number, index))
    positive = table.clamp_min(0).sum(0)
    raised = sum(one["inputs"] for one in parts)[0].clamp_min(0)
    return {
        "fooled": len(fooled) / len(tests),
        "change": change,
        "told by examples": float(table.sum()),
        "told by layers": float(sum(part.sum() for one in parts for part in one.values())),
        "of cued": float(positive[cued].sum() / positive.sum()),
        "cued": float(cued.double().mean()),
        **{
            name: float(share_of_positive_inside(torch.stack(drawn)[:, None], inside).mean())
            for name, drawn in maps.items()
        },
        "through": float(raised[inside].sum() / raised.sum()),
        "table": table,
        "parts": parts,
        "maps": maps,
        "where": where,
        "cued rows": cued,
        "test": test,
        "train": train,
    }


runs = []
for seed in range(run.seeds):
    with TemporaryDirectory() as folder:
        runs.append(asked(seed, folder))

# %% [markdown]
# ## What came out


# %%
def told(name: str) -> str:
    values = [one[name] for one in runs]
    return str(interval(values)) if len(values) > 1 else f"{values[0]:.3g}"


record.say(
    "A test digit with the bar, the first that is called a three with it and not without; the "
    "logit of three. Means with 95 % intervals over seeds."
)
record.table(
    ["what", "value", "by chance"],
    [
        ["test digits of other classes that are taken in by the bar", told("fooled"), ""],
        ["change of the logit in training", told("change"), ""],
        ["the same, summed over steps and examples", told("told by examples"), ""],
        ["the same, summed over layers and features", told("told by layers"), ""],
        ["of what raised it, from training digits with the bar", told("of cued"), told("cued")],
        ["of what raised it in the first layer, through the bar", told("through"), 1 / 16],
        *[
            [f"of the strongest such digits' maps, in the bar: {name}", told(name), 1 / 16]
            for name in runs[0]["maps"]
        ],
    ],
)

# %%
one = runs[0]
table, cued = one["table"], one["cued rows"]
fig, axes = plt.subplots(2, 4, figsize=(13, 5.6))
upper = axes[0]
upper[0].imshow(one["test"][0], cmap="gray_r")
upper[0].set_title("the test digit", fontsize=9)
upper[1].plot(table.sum(1).cumsum(0), color="black", label="all examples")
upper[1].plot(table[:, cued].sum(1).cumsum(0), color="crimson", label="with the bar")
upper[1].plot(table[:, ~cued].sum(1).cumsum(0), color="grey", label="without")
upper[1].set_title("when, and from which: the logit of three", fontsize=9)
upper[1].legend(fontsize=7)
for name in one["parts"][0]:
    values = torch.stack([part[name].reshape(1, -1).sum() for part in one["parts"]])
    label = "first layer, by features" if name == "inputs" else f"layer {name}"
    upper[2].plot(values.cumsum(0), label=label + (", bias" if name == "1" else ""))
upper[2].set_title("into which layer", fontsize=9)
upper[2].legend(fontsize=7)
features = sum(part["inputs"] for part in one["parts"])[0]
limit = float(features.abs().max())
upper[3].imshow(features, cmap="seismic", vmin=-limit, vmax=limit)
upper[3].set_title("through which of its pixels", fontsize=9)
for pair, when in ((axes[1][:2], "first epoch"), (axes[1][2:], "whole training")):
    number, index = one["where"][when][0]
    pair[0].imshow(one["train"][index][0], cmap="gray_r")
    pair[0].set_title(f"{when}: step {number + 1}, example {index}", fontsize=8)
    map = one["maps"][f"occlusion, {when}"][0]
    limit = float(map.abs().max())
    pair[1].imshow(map, cmap="seismic", vmin=-limit, vmax=limit)
    pair[1].set_title("from which part", fontsize=9)
for axis in (upper[0], upper[3], *axes[1]):
    axis.axis("off")
record.figure(
    fig,
    "one-picture",
    "Above: the test digit; the logit of three along the training, by training examples and by "
    "layers; the first layer's part by pixels. Below: the strongest pair of step and example with "
    "the bar in the first epoch and in the whole training, and where in the example it came from.",
)
record.save()
