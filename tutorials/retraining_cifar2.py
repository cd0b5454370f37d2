# %% [markdown]
# # What retraining says: cats and dogs
#
# CIFAR-2 (cat, dog) with a ResNet-9 is what benchmarks of data attribution measure. Here in a size
# for two cores: 1,000 pictures, a narrow network, few subsets, and the intervals that follow from
# few. Three questions:
#
# - **Random halves.** Does the sum of the scores over a random half of the training set predict
#   what a model trained on that half says? (linear datamodelling score, LDS)
# - **Wrong labels.** A tenth of the labels is made wrong: does self-influence find them?
# - **One more step.** Does a step of training on the top proponents teach the network the query,
#   more than a step on random pictures? (tail patch)
#
# Beside the scores of this package stand similarity of features, chance, captum's TracInCP and
# kronfluence's EK-FAC, on the same models, the same subsets, in the same run.

# %%
from pathlib import Path

import torch
from torch import nn
from torch.utils.data import TensorDataset

from captum_tfa.metrics import (
    MeasuredOutput,
    linear_datamodelling_score,
    mislabel_detection,
    retrain_subsets,
    tail_patch,
)
from captum_tfa.metrics.paired import paired_difference
from captum_tfa.metrics.subsets import random_subsets
from common.data import cifar10, subset_of_classes
from common.mislabelled import detection_rows, suspicions, with_wrong_labels
from common.rankings import EKFAC, rankings, tracin
from common.record import Record
from common.resnet9 import resnet9
from common.settings import settings

run = settings(
    data="cifar10",
    out="results",
    cache="tutorials-cache",
    train=1000,
    queries=200,
    subsets=40,
    seeds=(0,),  # trainings of each subset
    models=2,  # trained on everything, over which scores are averaged
    wrong=0.1,  # part of the labels that is made wrong
    wrong_sets=3,  # how often
    width=16,  # of the network; benchmarks take 64
    epochs=10,
    every=5,  # epochs between the checkpoints of TracIn
    patched=50,  # queries for the tail patch
    k=5,  # proponents of each
    step_size=1e-3,
    tracin=True,
    ekfac=True,  # needs kronfluence
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
    """SGD with momentum and one learning-rate cycle, passes in bfloat16."""
    rows = getattr(dataset, "indices", None)
    whole = dataset if rows is None else dataset.dataset
    x, y = whole.tensors if rows is None else (tensor[rows] for tensor in whole.tensors)
    model = resnet9(2, run.width).to(memory_format=torch.channels_last)
    optimizer = torch.optim.SGD(model.parameters(), 0.1, momentum=0.9, weight_decay=5e-4)
    steps = run.epochs * -(-len(y) // 64)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 0.1, total_steps=steps)
    model.train()
    for epoch in range(run.epochs):
        for batch in torch.randperm(len(y)).split(64):
            with torch.autocast("cpu", torch.bfloat16):
                logits = model(x[batch])
            loss = nn.functional.cross_entropy(logits.float(), y[batch])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
        if keep is not None and (epoch % run.every == run.every - 1 or epoch == run.epochs - 1):
            state = model.state_dict().items()
            keep.append({name: value.clone().contiguous() for name, value in state})
    optimizer.zero_grad()
    return model.to(memory_format=torch.contiguous_format).eval()


def whole_model(data: TensorDataset, seed: int) -> tuple[nn.Module, list]:
    states: list = []
    torch.manual_seed(1000 + seed)
    return trained(data, 1000 + seed, states), states


train, queries = pictures(True, run.train), pictures(False, run.queries)
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
# ## Random halves

# %%
record = Record("What retraining says: cats and dogs", run.out, run)
scores: dict[str, list[torch.Tensor]] = {}
models = []
for seed in range(run.models):
    model, states = whole_model(train, seed)
    models.append(model)
    found = rankings(model, train, queries, seed)
    if run.tracin and seed == 0:  # the most expensive of all
        found["TracInCP (captum)"] = tracin(model, states, train, queries)
    if run.ekfac:
        found["EK-FAC (kronfluence)"] = EKFAC(model, train).scores(queries)[0]
    for kind, values in found.items():
        scores.setdefault(kind, []).append(values)
    print(f"model {seed}: scored", flush=True)

with torch.no_grad():
    x, y = queries.tensors
    accuracy = float((models[0](x).argmax(1) == y).double().mean())
record.say(
    f"{run.train} CIFAR-10 pictures of cats and dogs, a ResNet-9 of width {run.width}, "
    f"{run.epochs} epochs, {run.queries} queries; accuracy on these {accuracy:.3f}. "
    f"{run.subsets} random halves, {len(run.seeds)} training(s) of each; the measured output is "
    "the margin of the right class. LDS is Spearman's correlation, the mean over queries; the "
    "first interval is over queries, the second (jackknife) over subsets."
)
results = {}
for kind, parts in scores.items():
    results[f"{kind}, 1 model"] = linear_datamodelling_score(parts[0], retrained)
    if len(parts) > 1 and kind != "random":
        results[f"{kind}, {len(parts)} models"] = linear_datamodelling_score(
            torch.stack(parts).mean(0), retrained
        )
record.table(("score", "LDS"), list(results.items()))
record.say("**Paired over queries**, against chance:")
chance = results["random, 1 model"].per_query
record.table(
    ("score", "LDS − LDS of random scores"),
    [
        (kind, paired_difference(result.per_query, chance, lower_is_better=False))
        for kind, result in results.items()
        if not kind.startswith("random")
    ],
)

# %% [markdown]
# ## Wrong labels

# %%
record.say("## Wrong labels")
record.say(
    f"{run.wrong:.0%} of the labels made wrong, {run.wrong_sets} times; means over these with "
    "their 95 % normal intervals, which so few values make too narrow. Recall: the share of the "
    "wrong labels among the 10 % and 20 % most suspicious examples."
)
detected: dict[str, list] = {}
for seed in range(run.wrong_sets):
    data, wrong = with_wrong_labels(train, 2, run.wrong, seed)
    model, _ = whole_model(data, seed)
    for kind, values in suspicions(model, data, queries, run.ekfac, seed).items():
        detected.setdefault(kind, []).append(mislabel_detection(values, wrong))
record.table(("suspicion", "AUC", "recall at 10 %", "recall at 20 %"), detection_rows(detected))

# %% [markdown]
# ## One more step

# %%
record.say("## One more step")
record.say(
    f"One SGD step of {run.step_size:g} on each of the top {run.k} proponents of {run.patched} "
    "queries: the change of the probability of the right class (in percentage points), minus that "
    f"by {run.k} random pictures; paired over queries."
)
rows = []
for kind, parts in scores.items():
    found = tail_patch(
        models[0],
        train,
        queries.tensors[0][: run.patched],
        queries.tensors[1][: run.patched],
        parts[0][: run.patched],
        k=run.k,
        step_size=run.step_size,
    )
    gap = paired_difference(
        100 * found.changes.mean(1), 100 * found.random_changes.mean(1), lower_is_better=False
    )
    rows.append((kind, gap))
record.table(("score", "proponents − random"), rows)
record.save()
