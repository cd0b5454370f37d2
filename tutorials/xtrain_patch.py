# %% [markdown]
# # At which step is a planted patch learned?
#
# A square is put into the corner of all training pictures of one class. The network learns the
# square, and calls every picture with it by that class. *When* in training does that happen? The
# states of the training are recorded; along them XtrAIn, here for a convolutional first layer and
# for windows of 4 x 4 pixels (own extensions), and its integrated form, tell what the updates did
# through each place of a test picture. Beside them stands what needs no training history:
# integrated gradients and occlusion of the model as it is at each recorded state.

# %%
import io
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import matplotlib.pyplot as plt
import torch
from captum.attr import IntegratedGradients, Occlusion
from PIL import Image
from torch import Tensor, nn

from captum_tfa import IntegratedXtrAIn, Trajectory, TrajectoryRecorder, XtrAIn
from captum_tfa.demo import Pictures, SmallCNN
from captum_tfa.metrics import clean_score
from captum_tfa.metrics.masking import mean_colour
from captum_tfa.metrics.shortcuts import corner_square, paint_region
from common.data import cifar10, subset_of_classes
from common.record import Record, interval
from common.remembering import remembered
from common.settings import settings

run = settings(
    data="cifar10",
    out="results",
    cache="tutorials-cache",
    classes=("dog", "ship", "automobile"),  # the first gets the square, the second is asked
    per_class=300,
    tests=3,
    measured=90,  # test pictures of which the accuracy is the share
    epochs=4,
    every=4,  # steps from one recorded state to the next
    square=4,
    points=4,
    seeds=3,
)
record = Record("When a planted patch is learned", run.out, run)
SIDE = 32
square = corner_square(SIDE, SIDE, run.square)
PINK = torch.tensor([255, 26, 204])
train_all, test_all = (
    subset_of_classes(cifar10(run.data, part, run.cache), run.classes) for part in (True, False)
)


def some(pictures: Pictures, count: int, seed: int) -> Pictures:
    """So many pictures of each class."""
    draw = torch.Generator().manual_seed(seed)
    chosen = []
    for label in range(len(pictures.classes)):
        places = (pictures.labels == label).nonzero().flatten()
        chosen.append(places[torch.randperm(len(places), generator=draw)[:count]])
    return pictures.part(torch.cat(chosen).tolist())


def painted(pictures: Pictures, which: Tensor) -> Pictures:
    images = paint_region(pictures.images, which, square, PINK)
    return Pictures(images, pictures.labels, pictures.classes, transform=pictures.transform)


def stacked(pictures: Pictures) -> Tensor:
    return torch.stack([pictures[place][0] for place in range(len(pictures))])


# %% [markdown]
# ## Training, recorded


# %%
def trained(x: Tensor, y: Tensor, seed: int, folder: str) -> tuple[nn.Module, Trajectory]:
    torch.manual_seed(seed)
    model = SmallCNN(len(run.classes))
    optimizer = torch.optim.Adam(model.parameters(), 3e-3)
    draw = torch.Generator().manual_seed(seed)
    with TrajectoryRecorder(model, optimizer, folder, every=run.every):
        for _ in range(run.epochs):
            for rows in torch.randperm(len(y), generator=draw).split(64):
                optimizer.zero_grad()
                nn.functional.cross_entropy(model(x[rows]), y[rows]).backward()
                optimizer.step()
    return model.eval(), Trajectory.open(folder)


def windows(size: int = 4) -> Tensor:
    """The number of each pixel's window, all channels together."""
    line = torch.arange(SIDE) // size
    return (line[:, None] * (SIDE // size) + line).expand(1, 3, SIDE, SIDE)


def at_states(model: nn.Module, trajectory: Trajectory, x: Tensor, mean: Tensor) -> dict[str, Any]:
    """Maps of the model as it is at each state, and what it says."""
    maps: dict[str, list[Tensor]] = {"integrated gradients": [], "occlusion": []}
    said = []
    own = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    for place in range(1, len(trajectory)):
        model.load_state_dict(trajectory[place])
        with torch.no_grad():
            said.append(model(x).argmax(1))
        path = IntegratedGradients(model).attribute(x, mean, target=0, n_steps=8)
        maps["integrated gradients"].append(path.detach())
        maps["occlusion"].append(
            Occlusion(model).attribute(x, (3, 4, 4), (3, 4, 4), mean, 0, perturbations_per_eval=16)
        )
    model.load_state_dict(own)
    return {"maps": maps, "said": said}


def seen(seed: int) -> dict[str, Any]:
    """All that is told of one training: maps ``[states, tests, 3, 32, 32]`` by method."""
    train = some(train_all, run.per_class, seed)
    train = painted(train, train.labels == 0)
    test = some(test_all, run.measured // 3, seed)
    ships = test.part((test.labels == 1).nonzero().flatten().tolist())
    asked = stacked(painted(ships, torch.ones(len(ships), dtype=torch.bool)))
    x, mean = asked[: run.tests], mean_colour(train).view(1, 3, 1, 1)
    with TemporaryDirectory() as folder:
        model, trajectory = trained(stacked(train), train.labels, seed, folder)
        found = at_states(model, trajectory, x, mean)
        steps = XtrAIn(model, trajectory).steps(x, 0, feature_mask=windows())
        found["maps"]["XtrAIn, summed up to here"] = list(torch.stack([*steps]).cumsum(0))
        steps = IntegratedXtrAIn(model, trajectory, run.points).steps(x, 0)
        found["maps"]["integrated XtrAIn, summed up to here"] = list(
            torch.stack([*steps]).cumsum(0)
        )
        clean, right = stacked(test), test.labels
        found["accuracy"], found["fooled"] = [], []
        for place in range(1, len(trajectory)):
            model.load_state_dict(trajectory[place])
            with torch.no_grad():
                found["accuracy"].append(float((model(clean).argmax(1) == right).double().mean()))
                found["fooled"].append(float((model(asked).argmax(1) == 0).double().mean()))
        found["steps"] = trajectory.steps[1:]
        found["pictures"] = x
    return found


def shares(found: dict[str, Any]) -> dict[str, Any]:
    """The part of each map's size inside the square, the mean over test pictures, at each state."""
    return {
        "steps": found["steps"],
        "accuracy": found["accuracy"],
        "fooled": found["fooled"],
        "shares": {
            name: [float(clean_score(map, square).mean()) for map in maps]
            for name, maps in found["maps"].items()
        },
    }


KEPT: dict[int, dict[str, Any]] = {}


def kept_maps(seed: int) -> dict[str, Any]:
    """What `seen` found; of the first seed it is kept for the animation."""
    found = KEPT.get(seed) or seen(seed)
    if seed == 0:
        KEPT[0] = found
    return found


KEY = {name: value for name, value in vars(run).items() if name not in ("out", "cache", "seeds")}
KEY = {**KEY, "data": Path(run.data).name, "train": len(train_all)}
runs = []
for seed in range(run.seeds):
    file = Path(run.cache) / "xtrain_patch" / f"{seed}.json"
    runs.append(remembered(file, KEY, lambda seed=seed: shares(kept_maps(seed))))
    print("seed", seed, runs[-1]["shares"], flush=True)

# %% [markdown]
# ## What came out


# %%
def told(values: list[float]) -> str:
    return str(interval(values)) if len(values) > 1 else f"{values[0]:.3g}"


def arrived(steps: list[int], values: list[float], level: float) -> float:
    """The first recorded step from which on the values stay at least at a level."""
    above = [value >= level for value in values]
    first = len(above)
    while first > 0 and above[first - 1]:
        first -= 1
    return float(steps[min(first, len(steps) - 1)])


steps = runs[0]["steps"]
area = float(square.double().mean())
record.say(
    f"Pictures of {', '.join(run.classes)}; a pink square of {run.square} x {run.square} pixels in "
    f"all training pictures of {run.classes[0]}. Asked: {run.tests} test pictures of "
    f"{run.classes[1]} with the square, the logit of {run.classes[0]}. Share: the part of a map's "
    f"size in the square; chance is its area, {area:.3f}. {steps[-1]} steps, a state every "
    f"{run.every}. Means with 95 % intervals over {run.seeds} seeds."
)
record.table(
    [
        "",
        "at the first recorded state",
        "at the last",
        "step from which on it is half of that",
    ],
    [
        [
            name,
            told([one[0] for one in of]),
            told([one[-1] for one in of]),
            told([arrived(steps, one, one[-1] / 2) for one in of]),
        ]
        for name, of in [
            ("accuracy on clean test pictures", [one["accuracy"] for one in runs]),
            ("pictures with the square taken in", [one["fooled"] for one in runs]),
            *[
                (f"share: {name}", [one["shares"][name] for one in runs])
                for name in runs[0]["shares"]
            ],
        ]
    ],
)


def curves(axes: Any, of: list[dict[str, Any]]) -> None:
    for one in of:
        axes[0].plot(steps, one["accuracy"], color="black", alpha=0.6)
        axes[0].plot(steps, one["fooled"], color="crimson", alpha=0.6)
    axes[0].legend(["accuracy, clean", "taken in by the square"], fontsize=7)
    for number, name in enumerate(of[0]["shares"]):
        values = torch.tensor([one["shares"][name] for one in of])
        axes[1].plot(steps, values.mean(0), label=name, color=f"C{number}")
        if len(of) > 1:
            spread = 1.96 * values.std(0) / len(of) ** 0.5
            low, high = values.mean(0) - spread, values.mean(0) + spread
            axes[1].fill_between(steps, low, high, alpha=0.15, color=f"C{number}")
    axes[1].axhline(area, color="grey", linestyle=":")
    axes[1].legend(fontsize=7)
    axes[1].set_title("share of the map in the square", fontsize=9)
    for axis in axes:
        axis.set_xlabel("step", fontsize=8)


fig, axes = plt.subplots(1, 2, figsize=(10, 3.4))
curves(axes, runs)
record.figure(fig, "shares", "Accuracy, and the square's share of the maps, along the training.")

# %% [markdown]
# ## The same as an animation

# %%
found = kept_maps(0)
told_here = shares(found)
frames = []
names = ["XtrAIn, summed up to here", "integrated gradients"]
picture = found["pictures"][0]
shown = (picture - picture.amin()) / (picture.amax() - picture.amin())
for place, step in enumerate(found["steps"]):
    fig, axes = plt.subplots(1, 4, figsize=(9, 2.3))
    axes[0].imshow(shown.permute(1, 2, 0))
    axes[0].set_title(f"step {step}", fontsize=9)
    for axis, name in zip(axes[1:3], names, strict=True):
        map = found["maps"][name][place][0].sum(0)
        limit = float(map.abs().max()) or 1.0
        axis.imshow(map, cmap="seismic", vmin=-limit, vmax=limit)
        axis.set_title(name, fontsize=8)
    for axis in axes[:3]:
        axis.axis("off")
    axes[3].plot(found["steps"], told_here["fooled"], color="crimson", label="taken in")
    axes[3].plot(found["steps"], told_here["shares"][names[0]], color="C2", label="share, XtrAIn")
    axes[3].axvline(step, color="grey")
    axes[3].set_ylim(-0.02, 1.02)
    axes[3].legend(fontsize=6)
    drawn = io.BytesIO()
    fig.savefig(drawn, dpi=60)
    plt.close(fig)
    frames.append(Image.open(drawn).convert("P", palette=Image.Palette.ADAPTIVE, colors=64))
movie = f"{record.name}-forming.gif"
frames[0].save(
    record.out / movie, save_all=True, append_images=frames[1:], duration=400, loop=0, optimize=True
)
record.say(
    f"![A test picture, two maps and two curves, one frame a recorded state]({movie})\n\n*A test "
    "picture with the square; XtrAIn summed up to the step; integrated gradients of the model at "
    "that step; and the curves.*"
)
record.save()
