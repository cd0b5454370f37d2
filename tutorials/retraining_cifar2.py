# %% [markdown]
# # What retraining says: cats and dogs
#
# CIFAR-2 (cat, dog) with a ResNet-9 is what benchmarks of data attribution measure. Here in a size
# for two cores: 1,000 pictures, a narrow network, few subsets, and the intervals that follow from
# few. Two questions:
#
# - **Random halves.** Does the sum of the scores over a random half of the training set predict
#   what a model trained on that half says? (linear datamodelling score, LDS)
# - **One more step.** Does a step of training on the top proponents teach the network the query,
#   more than a step on random pictures? (tail patch)
#
# Every score stands there with and without learned weights of the layers, and beside similarity of
# features, chance, captum's TracInCP, TracInCPFast and Arnoldi, kronfluence's EK-FAC and traker's
# TRAK, on the same models, the same subsets, in the same run.

# %%
from functools import lru_cache
from pathlib import Path

import torch
from torch import nn
from torch.utils.data import TensorDataset

from captum_tfa import ParameterWeights, draw_weights
from captum_tfa.metrics import MeasuredOutput, retrain_subsets, tail_patch
from captum_tfa.metrics.intervals import Interval, normal_interval
from captum_tfa.metrics.paired import paired_difference
from captum_tfa.metrics.similarity import spearman
from captum_tfa.metrics.subsets import random_subsets
from captum_tfa.scores.groups import groups_of
from common.checkpoints import train_with_checkpoints
from common.data import cifar10, subset_of_classes
from common.kept_scores import Asked, KeptScores, kept_states
from common.lds_tables import lds_tables
from common.record import Record
from common.resnet9 import resnet9
from common.score_family import weights_of
from common.settings import settings

run = settings(
    data="cifar10",
    out="results",
    cache="tutorials-cache",
    train=3000,
    queries=400,
    learning=100,  # further queries, from which weights are learned
    subsets=50,
    seeds=(0, 1),  # trainings of each subset
    models=3,  # trained on everything, over which scores are averaged
    width=12,  # of the network; benchmarks take 64
    epochs=10,
    every=4,  # epochs between the checkpoints of TracIn
    patched=40,  # queries for the tail patch
    k=5,  # proponents of each
    step_size=1e-3,
    patched_scores=(
        "grad-dot",
        "grad-cos",
        "TracIn",
        "TracIn, learned weights",
        "influence, EK-FAC",
        "feature similarity",
    ),
    curvature_of=500,  # examples to which a curvature without blocks is fitted
    dimension=512,  # of TRAK's projections
    scores=(
        "gradients",
        "ekfac",
        "TracIn",
        "TRAK",
        "representer",
        "feature similarity",
        "kfac",
        "diagonal",
        "TracInCPFast (captum)",
        "TracInCP (captum)",
        "EK-FAC (kronfluence)",
        "TRAK (traker)",
        "datainf",
        "fisher",
        "arnoldi",
        "Arnoldi (captum)",
    ),
    by_layer=("gradients", "ekfac"),  # of which each layer alone is measured
    several=("gradients", "ekfac", "TracIn", "TRAK", "TRAK (traker)"),  # those of all models
)

# %% [markdown]
# ## Data and training


# %%
def pictures(train: bool, count: int) -> TensorDataset:
    """So many cats and dogs, in equal parts, in mixed order."""
    both = subset_of_classes(cifar10(run.data, train, run.cache), ("cat", "dog"))
    rows = torch.cat([(both.labels == label).nonzero().flatten()[: count // 2] for label in (0, 1)])
    rows = rows[torch.randperm(len(rows), generator=torch.Generator().manual_seed(0))]
    examples = [both[row] for row in rows.tolist()]
    return TensorDataset(torch.stack([image for image, _ in examples]), both.labels[rows])


def trained(dataset, seed: int, keep: list | None = None) -> nn.Module:
    """A network of a dataset or a part of it; ``keep`` gets its checkpoints."""
    rows = getattr(dataset, "indices", None)
    whole = dataset if rows is None else dataset.dataset
    x, y = whole.tensors if rows is None else (tensor[rows] for tensor in whole.tensors)
    model = resnet9(2, run.width)
    states = train_with_checkpoints(model, x, y, run.epochs, run.every)
    if keep is not None:
        keep.extend(states)
    return model


train, asked = pictures(True, run.train), pictures(False, run.queries + run.learning)
queries, learners = (
    TensorDataset(*(tensor[part] for tensor in asked.tensors))
    for part in (slice(run.queries), slice(run.queries, None))
)
members = random_subsets(len(train), run.subsets)
retrained = retrain_subsets(
    trained,
    train,
    members,
    MeasuredOutput(*queries.tensors),
    Path(run.cache) / "retraining_cifar2",
    seeds=run.seeds,
    settings={"epochs": run.epochs, "width": run.width, "train": run.train},
    show_progress=True,
)

# %% [markdown]
# ## Scores
#
# Each is kept as it comes: a run that was cut off goes on with the next one. Weights of layers are
# learned from queries of their own, from the rankings alone.


# %%
kept = Path(run.cache) / "retraining_cifar2-scores"
told = {key: getattr(run, key) for key in ("train", "queries", "learning", "width", "epochs")}
told["every"] = run.every


@lru_cache
def whole_model(seed: int) -> tuple[nn.Sequential, list]:
    """A network of everything, and its checkpoints."""

    def states() -> list:
        found: list = []
        torch.manual_seed(1000 + seed)
        trained(train, 1000 + seed, found)
        return found

    checkpoints = kept_states(kept / f"model {seed}.safetensors", told, states)
    model = resnet9(2, run.width)
    model.load_state_dict(checkpoints[-1])
    return model.eval(), checkpoints


scores = KeptScores(
    kept, told, Asked(train, queries, learners), whole_model, run.curvature_of, run.dimension
)
one, several = scores.of_one_and_all(run.scores, run.several, run.models)

# %% [markdown]
# ## Random halves

# %%
record = Record("What retraining says: cats and dogs", run.out, run)
record.say("## What was measured")
model = whole_model(0)[0]
with torch.no_grad():
    right = [
        normal_interval((model(data.tensors[0]).argmax(1) == data.tensors[1]).double())
        for data in (queries, train)
    ]
of_halves = normal_interval((retrained.outputs > 0).double().mean(1))
record.say(
    f"{run.train} CIFAR-10 pictures of cats and dogs, a ResNet-9 of width {run.width}, "
    f"{run.epochs} epochs, {run.queries} queries. The network of everything is right on "
    f"{right[0]} of the queries and {right[1]} of the training images, those of halves on "
    f"{of_halves} of the queries. {run.subsets} random halves, {len(run.seeds)} training(s) of "
    "each; the measured output is the margin of the right class. LDS is Spearman's correlation, "
    "the mean over queries; the first interval is over queries, the second (jackknife) over "
    f"halves. Weights of layers were learned from {run.learning} further queries."
)
record.say("### Random halves")
results = lds_tables(record, one, several, run.models, retrained)

# %% [markdown]
# ## The weights
#
# Do layers get much weight whose scores alone predict retraining well?

# %%
record.say("### The weights of layers")
groups = groups_of(model, None, "layer")
columns: dict[str, list] = {"layer": list(groups)}
learned = {}
for kind in run.by_layer:
    for name, alone in scores.lds_by_layer(kind, 0, retrained).items():
        weights = one[weights_of(name)]
        learned[name] = ParameterWeights(groups, tuple(weights.tolist()))
        columns[f"LDS of {name} there"] = [Interval(*each) for each in alone.tolist()]
        columns[f"weight for {name}"] = weights.tolist()
        agree = float(spearman(alone[None, :, 0], weights[None]))
        record.say(
            f"**{name}**: over the {len(groups)} layers, the LDS of a layer alone and its learned "
            f"weight have a rank correlation of {agree:.2f}."
        )
if learned:
    record.table(list(columns), list(zip(*columns.values(), strict=True)))
    record.figure(draw_weights(learned), "weights", "Learned weights of each layer, one model.")

# %% [markdown]
# ## One more step

# %%
record.say("### One more step")
record.say(
    f"One SGD step of {run.step_size:g} on each of the top {run.k} proponents of {run.patched} "
    "queries: the change of the probability of the right class (in percentage points), minus that "
    f"by {run.k} random pictures; paired over queries."
)
rows = []
for name in run.patched_scores:
    if name not in one:
        continue
    patch = tail_patch(
        model,
        train,
        queries.tensors[0][: run.patched],
        queries.tensors[1][: run.patched],
        one[name][: run.patched],
        k=run.k,
        step_size=run.step_size,
    )
    changes = [100 * each.mean(1) for each in (patch.changes, patch.random_changes)]
    rows.append((name, paired_difference(*changes, lower_is_better=False)))
record.table(("score", "proponents − random"), rows)
record.save()
