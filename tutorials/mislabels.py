# %% [markdown]
# # Which labels are wrong?
#
# A tenth of the labels of a training set is made wrong, and a network is trained on it. Which score
# finds them? An example is suspicious that influences itself much, or that opposes held-out images
# with right labels: in the mean over them, or one of them most of all. The plain loss of the
# training example, which needs no gradient, is what all of them must beat.
#
# Two set-ups: a ResNet-9 on CIFAR-10, and the last stage of a network that was trained on ImageNet,
# on photographs of ants and bees. Every score stands there with and without learned weights of its
# layers, beside what captum, kronfluence and traker offer.

# %%
from functools import partial
from pathlib import Path

import torch
from torch import nn
from torch.utils.data import TensorDataset

from captum_tfa.metrics import mislabel_detection
from captum_tfa.metrics.intervals import normal_interval
from common.checkpoints import train_with_checkpoints
from common.data import cifar10, photographs
from common.kept_scores import Asked, kept_states
from common.last_stage import last_stage, trunk_features
from common.mislabelled import detection_rows, with_wrong_labels
from common.record import Record
from common.remembering import remembered_tensors
from common.resnet9 import resnet9
from common.score_family import WEIGHTED
from common.settings import settings
from common.suspicions import suspicions_of

run = settings(
    data="cifar10",
    photographs="ants_bees",
    out="results",
    cache="tutorials-cache",
    setups=("cifar10", "photographs"),
    train=2000,  # of CIFAR-10
    queries=200,
    learning=50,  # further held-out images, from which weights are learned
    width=12,
    epochs=10,
    network="efficientnet_lite0",
    photograph_queries=100,
    photograph_epochs=10,
    every=4,  # epochs between the checkpoints of TracIn
    wrong=0.1,  # part of the labels
    seeds=3,  # sets of wrong labels, each with a network
    dimension=512,  # of TRAK's projections
    scores=(
        "loss",
        "gradients",
        "TracIn",
        "ekfac",
        "TRAK",
        "representer",
        "TracInCPFast (captum)",
        "EK-FAC (kronfluence)",
        "TRAK (traker)",
    ),
)

# %% [markdown]
# ## Data and networks


# %%
def some(pictures, count: int) -> TensorDataset:
    """So many pictures of all classes in mixed order."""
    order = torch.randperm(len(pictures), generator=torch.Generator().manual_seed(0))[:count]
    chosen = [pictures[place] for place in order.tolist()]
    return TensorDataset(torch.stack([image for image, _ in chosen]), pictures.labels[order])


def parts(data: TensorDataset, first: int) -> tuple[TensorDataset, TensorDataset]:
    """The first so many, and the others."""
    return tuple(
        TensorDataset(*(tensor[part] for tensor in data.tensors))
        for part in (slice(first), slice(first, None))
    )


def of_cifar10() -> Asked:
    held_out = some(cifar10(run.data, False, run.cache), run.queries + run.learning)
    return Asked(some(cifar10(run.data, True, run.cache), run.train), *parts(held_out, run.queries))


def of_photographs() -> Asked:
    train, held_out = (
        trunk_features(
            run.network, photographs(run.photographs, split), split, Path(run.cache) / "mislabels"
        )
        for split in ("train", "val")
    )
    order = torch.randperm(len(held_out), generator=torch.Generator().manual_seed(0))
    mixed = TensorDataset(*(tensor[order] for tensor in held_out.tensors))
    return Asked(train, *parts(mixed, run.photograph_queries))


def of_resnet9() -> nn.Sequential:
    return resnet9(10, run.width)


def of_last_stage() -> nn.Sequential:
    return last_stage(run.network, 2)


SETUPS = {
    "cifar10": ("CIFAR-10, ResNet-9", 10, of_cifar10, of_resnet9, run.epochs),
    "photographs": (
        "Ants and bees, last stage",
        2,
        of_photographs,
        of_last_stage,
        run.photograph_epochs,
    ),
}


def checkpoints(setup: str, data: TensorDataset, seed: int) -> list:
    """Those of a training; the photographs are few, so their norms keep what they learned."""
    *_, fresh, epochs = SETUPS[setup]
    torch.manual_seed(seed)
    learn = setup == "cifar10"
    return train_with_checkpoints(fresh(), *data.tensors, epochs, run.every, norms_learn=learn)


# %% [markdown]
# ## Wrong labels, and who finds them

# %%
record = Record("Which labels are wrong?", run.out, run)
record.say("## What was measured")
keys = ("train", "queries", "learning", "width", "epochs", "network", "photograph_queries")
told = {key: getattr(run, key) for key in (*keys, "photograph_epochs", "every", "wrong")}
told["dimension"] = run.dimension
found: dict[str, dict[str, list]] = {}  # what is known of each suspicion, by set-up
for setup in run.setups:
    title, classes, data_of, fresh, _ = SETUPS[setup]
    clean = data_of()
    right = []
    detected: dict[str, list] = {}
    for seed in range(run.seeds):
        noisy, wrong = with_wrong_labels(clean.train, classes, run.wrong, seed)
        asked = clean._replace(train=noisy)
        folder = Path(run.cache) / "mislabels" / f"{setup} {seed}"
        train_it = partial(checkpoints, setup, noisy, seed)
        states = kept_states(folder / "states.safetensors", told, train_it)
        model = fresh()
        model.load_state_dict(states[-1])
        model.eval()
        with torch.no_grad():
            x, y = asked.queries.tensors
            right.append(float((model(x).argmax(1) == y).double().mean()))
        for kind in run.scores:
            measure = partial(
                suspicions_of, kind, model, states, asked, run.dimension, folder / "index"
            )
            suspicions = remembered_tensors(folder / f"{kind}.safetensors", told, measure)
            for name, values in suspicions.items():
                detected.setdefault(name, []).append(mislabel_detection(values, wrong))
            print(f"{setup}, seed {seed}, {kind}: done", flush=True)
    found[setup] = detected
    record.say(f"### {title}")
    record.say(
        f"{len(clean.train)} training images, {run.wrong:.0%} of the labels wrong, {run.seeds} "
        f"times, each with a network of its own; {len(clean.queries)} held-out images with right "
        f"labels, of which the networks are right on {min(right):.0%} to {max(right):.0%}; weights "
        f"were learned from {len(clean.learners)} others. Means over networks with their 95 % "
        "normal intervals, which so few make too narrow. Recall: the share of the wrong labels "
        "among the 10 % and 20 % most suspicious examples; chance is 0.1 and 0.2, of AUC 0.5."
    )
    record.table(("suspicion", "AUC", "recall at 10 %", "recall at 20 %"), detection_rows(detected))
    record.say(
        "**What learned weights change**, and what the plain loss has ahead; paired over networks:"
    )
    rows = []
    for name in detected:
        if name + WEIGHTED in detected:
            areas = [
                torch.tensor([result.auc.mean for result in detected[key]])
                for key in (name, name + WEIGHTED, "loss")
            ]
            gains = (areas[1] - areas[0], areas[2] - torch.maximum(areas[0], areas[1]))
            rows.append((name, *(normal_interval(each) for each in gains)))
    record.table(("suspicion", "AUC with weights − without", "AUC of the loss − the better"), rows)
record.save()
