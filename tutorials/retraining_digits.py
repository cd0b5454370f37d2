# %% [markdown]
# # What retraining says: digits
#
# A score says that a training example helped. The only way to know is to train without it. Here
# that is cheap: 1,000 of scikit-learn's digits (8 x 8 pixels), a logistic regression and a small
# multilayer perceptron, many hundred trainings in a few minutes. Four questions:
#
# - **Random halves.** Does the sum of the scores over a random half of the training set predict
#   what a model trained on that half says? (linear datamodelling score, LDS)
# - **Leaving one out.** Do the scores predict what leaving out a single example does?
# - **Groups.** And leaving out a group of fifty?
# - **Wrong labels.** A tenth of the labels is made wrong: does self-influence find them?
#
# Beside the scores of this package stand similarity of features, chance, captum's TracInCP,
# kronfluence's EK-FAC and, for the logistic regression, influence with the exact Hessian, on the
# same models, the same subsets, in the same run.

# %%
from pathlib import Path

import matplotlib.pyplot as plt
import torch
from sklearn.datasets import load_digits
from torch import nn
from torch.func import functional_call, grad, hessian, vmap
from torch.utils.data import Subset, TensorDataset

from captum_tfa.metrics import (
    MeasuredOutput,
    leaving_out,
    linear_datamodelling_score,
    mislabel_detection,
    retrain_subsets,
)
from captum_tfa.metrics.paired import paired_difference
from captum_tfa.metrics.subsets import leave_groups_out, random_subsets
from common.mislabelled import detection_rows, suspicions, with_wrong_labels
from common.rankings import EKFAC, rankings, tracin
from common.record import Record
from common.settings import settings

run = settings(
    out="results",
    cache="tutorials-cache",
    train=1000,
    queries=200,
    subsets=100,
    seeds=(0, 1, 2),  # trainings of each subset
    models=5,  # trained on everything, over which scores are averaged
    single=40,  # examples left out one at a time
    groups=20,  # groups left out
    group_size=50,
    leaving_seeds=(0, 1, 2, 3, 4),
    wrong=0.1,  # part of the labels that is made wrong
    wrong_sets=5,  # how often
    hidden=64,
    epochs=30,  # of the perceptron
    checkpoints=5,
    ekfac=True,  # needs kronfluence
)

# %% [markdown]
# ## Data and the two models
#
# The logistic regression is trained to its optimum (L-BFGS, weight decay), so its seed does not
# matter and retraining has no noise. The perceptron is trained by SGD with momentum, so another
# seed is another model.


# %%
DECAY = 5e-3  # of the logistic regression


def digits() -> tuple[TensorDataset, TensorDataset]:
    images, labels = load_digits(return_X_y=True)
    order = torch.randperm(len(labels), generator=torch.Generator().manual_seed(0))
    x = (torch.tensor(images).float() / 8 - 1)[order]
    y = torch.tensor(labels)[order]
    last = run.train + run.queries
    return TensorDataset(x[: run.train], y[: run.train]), TensorDataset(
        x[run.train : last], y[run.train : last]
    )


def tensors(dataset: TensorDataset | Subset) -> tuple[torch.Tensor, torch.Tensor]:
    if isinstance(dataset, Subset):
        rows = torch.tensor(dataset.indices)
        return tuple(tensor[rows] for tensor in dataset.dataset.tensors)
    return dataset.tensors


def train_logistic(dataset, seed, keep=None) -> nn.Module:
    x, y = tensors(dataset)
    x = x.double()  # the effect of one example is small: the optimum must be exact
    model = nn.Sequential(nn.Flatten(), nn.Linear(64, 10)).double()
    for parameter in model.parameters():
        nn.init.zeros_(parameter)
    optimizer = torch.optim.LBFGS(
        model.parameters(),
        max_iter=500,
        line_search_fn="strong_wolfe",
        tolerance_grad=1e-8,
        tolerance_change=1e-12,
    )

    def closure():
        optimizer.zero_grad()
        loss = nn.functional.cross_entropy(model(x), y)
        decay = sum((parameter**2).sum() for parameter in model.parameters())
        loss = loss + DECAY * decay
        loss.backward()
        return loss

    model.train()
    optimizer.step(closure)
    optimizer.zero_grad()
    model.float()
    if keep is not None:
        keep.append({name: value.clone() for name, value in model.state_dict().items()})
    return model.eval()


def train_perceptron(dataset, seed, keep=None) -> nn.Module:
    x, y = tensors(dataset)
    model = nn.Sequential(nn.Linear(64, run.hidden), nn.ReLU(), nn.Linear(run.hidden, 10))
    optimizer = torch.optim.SGD(model.parameters(), 0.05, momentum=0.9, weight_decay=1e-3)
    model.train()
    every = max(1, run.epochs // run.checkpoints)
    for epoch in range(run.epochs):
        for rows in torch.randperm(len(y)).split(64):
            loss = nn.functional.cross_entropy(model(x[rows]), y[rows])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        if keep is not None and epoch % every == every - 1:
            keep.append({name: value.clone() for name, value in model.state_dict().items()})
    optimizer.zero_grad()
    return model.eval()


TRAININGS = {"logistic regression": train_logistic, "perceptron": train_perceptron}
train, queries = digits()
margin = MeasuredOutput(*queries.tensors)

# %% [markdown]
# ## The scores, each of one model and of the mean over several


# %%
def whole_model(name: str, data: TensorDataset, seed: int) -> tuple[nn.Module, list]:
    """A model of all data, and its checkpoints."""
    states: list = []
    torch.manual_seed(1000 + seed)
    return TRAININGS[name](data, 1000 + seed, keep=states), states


def exact_influence(model: nn.Module) -> torch.Tensor:
    """``g_qᵀ H⁻¹ g_n`` with the Hessian of what the logistic regression minimises, ``[Q, N]``."""
    names = [name for name, _ in model.named_parameters()]
    sizes = [parameter.numel() for parameter in model.parameters()]
    shapes = [parameter.shape for parameter in model.parameters()]
    weights = torch.cat([parameter.detach().flatten() for parameter in model.parameters()])

    def loss(flat, x, y):
        parts = [part.view(shape) for part, shape in zip(flat.split(sizes), shapes, strict=True)]
        logits = functional_call(model, dict(zip(names, parts, strict=True)), (x,))
        return nn.functional.cross_entropy(logits, y)

    def minimised(flat):
        return loss(flat, *train.tensors) + DECAY * (flat**2).sum()

    one = vmap(grad(lambda flat, x, y: loss(flat, x[None], y[None])), (None, 0, 0))
    of_train, of_queries = (one(weights, *data.tensors) for data in (train, queries))
    return (torch.linalg.solve(hessian(minimised)(weights), of_train.T).T @ of_queries.T).T


def all_scores(name: str) -> dict[str, list[torch.Tensor]]:
    """Scores ``[Q, N]`` by name, one for each model."""
    found: dict[str, list[torch.Tensor]] = {}
    count = 1 if name == "logistic regression" else run.models
    for seed in range(count):
        model, states = whole_model(name, train, seed)
        scores = rankings(model, train, queries, seed)
        if len(states) > 1:
            scores["TracInCP (captum)"] = tracin(model, states, train, queries)
        if name == "logistic regression":
            scores["influence, exact Hessian"] = exact_influence(model)
        if run.ekfac:
            scores["EK-FAC (kronfluence)"] = EKFAC(model, train).scores(queries)[0]
        for kind, values in scores.items():
            found.setdefault(kind, []).append(values)
    return found


def right(name: str) -> float:
    model, _ = whole_model(name, train, 0)
    x, y = queries.tensors
    return float((model(x).argmax(1) == y).double().mean())


# %% [markdown]
# ## Training anew
#
# What each model says is kept in a folder as it comes.


# %%
def retrained(name: str, members: torch.Tensor, what: str, seeds):
    told = {"network": name, "epochs": run.epochs, "hidden": run.hidden, "train": run.train}
    folder = Path(run.cache) / "retraining_digits" / f"{name} {what}".replace(" ", "-")
    one = (0,) if name == "logistic regression" else tuple(seeds)
    return retrain_subsets(
        TRAININGS[name], train, members, margin, folder, seeds=one, settings=told
    )


halves = random_subsets(run.train, run.subsets)
mixed = torch.randperm(run.train, generator=torch.Generator().manual_seed(1))
alone = leave_groups_out(run.train, mixed[: run.single].split(1))
grouped = leave_groups_out(run.train, mixed[: run.groups * run.group_size].split(run.group_size))

record = Record("What retraining says: digits", run.out, run)
accuracies = ", ".join(f"{right(name):.3f} ({name})" for name in TRAININGS)
record.say(
    f"{run.train} digits to train on, {run.queries} queries; accuracy on these: {accuracies}. The "
    "measured output is the margin of the right class. LDS is Spearman's correlation, the mean "
    "over queries; the first interval is over queries, the second (jackknife) over subsets."
)

# %%
table: dict[str, dict[str, object]] = {}
for name in TRAININGS:
    scores = all_scores(name)
    models = {
        "halves": retrained(name, halves, "halves", run.seeds),
        "one": retrained(name, alone, "one", run.leaving_seeds),
        "groups": retrained(name, grouped, "groups", run.leaving_seeds),
    }
    rows = []
    table[name] = {}
    for kind, parts in scores.items():
        several = {"": parts[0]}
        if len(parts) > 1 and kind != "random":
            several = {", 1 model": parts[0], f", {len(parts)} models": torch.stack(parts).mean(0)}
        for suffix, values in several.items():
            found = {what: linear_datamodelling_score(values, of) for what, of in models.items()}
            table[name][kind + suffix] = found
            rows.append((kind + suffix, *(str(found[what]) for what in models)))
    effects = leaving_out(models["one"])
    record.say(f"## {name[0].upper()}{name[1:]}")
    seeds = len(run.seeds) if name == "perceptron" else 1
    record.say(
        f"LDS over {run.subsets} random halves ({seeds} training(s) of each); rank correlation "
        f"with leaving out one of {run.single} examples, and one of {run.groups} groups of "
        f"{run.group_size}:"
    )
    record.table(("score", "random halves", "leaving one out", "leaving a group out"), rows)
    if name == "perceptron":
        for what, of in (("one example", effects), ("a group", leaving_out(models["groups"]))):
            share = (of.effects.abs() > 2 * of.errors).double().mean()
            record.say(
                f"Leaving out {what}: the mean size of an effect is "
                f"{float(of.effects.abs().mean()):.3g}, its standard error over "
                f"{len(run.leaving_seeds)} seeds {float(of.errors.mean()):.3g}; {share:.0%} of the "
                "effects are larger than two standard errors (chance, with so few seeds: "
                "about 12 %)."
            )

# %% [markdown]
# Scores are compared query by query: the difference of LDS, paired.

# %%
record.say("**Paired over queries**, random halves: difference of LDS.")
PAIRS = (("grad-cos", "grad-dot"), ("grad-cos", "feature similarity"))
rows = []
for name, found in table.items():
    suffix = "" if name == "logistic regression" else ", 1 model"
    pairs = [(one + suffix, two + suffix) for one, two in PAIRS]
    if name == "perceptron":
        many = f", {run.models} models"
        pairs += [(kind + many, kind + suffix) for kind in ("grad-dot", "grad-cos")]
    for one, two in pairs:
        if one in found and two in found:
            sides = (found[each]["halves"].per_query for each in (one, two))
            rows.append((name, one, two, paired_difference(*sides, lower_is_better=False)))
record.table(("model", "score", "against", "difference"), rows)

# %% [markdown]
# ## Wrong labels
#
# A model is trained on the digits with some wrong labels. Suspicious are: examples of large
# self-influence (for grad-dot the squared gradient norm), of a large loss, and those that oppose
# the queries on average.

# %%
record.say("## Wrong labels")
record.say(
    f"{run.wrong:.0%} of the labels made wrong, {run.wrong_sets} times; means over these with "
    "their 95 % normal intervals (five values make them too narrow). Recall: the share of the "
    "wrong labels among the 10 % and 20 % most suspicious examples."
)
for name in TRAININGS:
    detected: dict[str, list] = {}
    for seed in range(run.wrong_sets):
        data, wrong = with_wrong_labels(train, 10, run.wrong, seed)
        model, _ = whole_model(name, data, seed)
        for kind, values in suspicions(model, data, queries, run.ekfac, seed).items():
            detected.setdefault(kind, []).append(mislabel_detection(values, wrong))
    record.say(f"**{name[0].upper()}{name[1:]}**")
    record.table(("suspicion", "AUC", "recall at 10 %", "recall at 20 %"), detection_rows(detected))

# %%
figure, axes = plt.subplots(1, len(table), figsize=(10, 3.8), layout="constrained")
for axis, (name, found) in zip(axes, table.items(), strict=True):
    for place, result in enumerate(each["halves"] for each in found.values()):
        low, high = result.over_subsets.low, result.over_subsets.high
        axis.plot([low, high], [place, place], color="tab:blue")
        axis.scatter(result.mean, place, color="black", s=18, zorder=3)
    axis.axvline(0, color="grey", linestyle="dotted")
    axis.set_yticks(range(len(found)), list(found), fontsize=7)
    axis.invert_yaxis()
    axis.set_xlabel("LDS")
    axis.set_title(name, fontsize=9)
record.figure(figure, "lds", "LDS over random halves, with 95 % jackknife intervals over halves.")
record.save()
