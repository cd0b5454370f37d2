# %% [markdown]
# # What retraining says: ants and bees
#
# A network that was trained on ImageNet, its last stage (a convolution, a norm and the classifier)
# trained on 244 photographs of ants and bees: what a practitioner with few pictures does. The trunk
# stays as it is, so its features are computed once and a training takes seconds. Does the sum of
# the scores over a random half of the photographs predict what a model trained on that half says?
# (linear datamodelling score, LDS)
#
# Every score stands there with and without learned weights, and beside its peers, on the same
# models, the same halves, in the same run.

# %%
from functools import lru_cache
from pathlib import Path

import torch
from torch import nn
from torch.utils.data import TensorDataset

from captum_tfa import InfluenceScore, ScoreInfluence
from captum_tfa.curvature import fit_curvature
from captum_tfa.metrics import MeasuredOutput, linear_datamodelling_score, retrain_subsets
from captum_tfa.metrics.intervals import normal_interval
from captum_tfa.metrics.subsets import random_subsets
from common.checkpoints import train_with_checkpoints
from common.data import photographs
from common.kept_scores import Asked, KeptScores, kept_states
from common.last_stage import last_stage, trunk_features
from common.lds_tables import lds_tables
from common.record import Record
from common.settings import settings

run = settings(
    data="ants_bees",
    out="results",
    cache="tutorials-cache",
    network="efficientnet_lite0",
    queries=100,
    subsets=50,
    seeds=(0, 1),  # trainings of each subset
    models=5,  # trained on everything, over which scores are averaged
    epochs=10,
    every=4,  # epochs between the checkpoints of TracIn
    curvature_of=244,  # examples to which a curvature without blocks is fitted
    dampings=(0.001, 0.01, 0.1, 1.0, 10.0),
    dimension=128,  # of TRAK's projections
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
    ),
    several=("gradients", "ekfac", "TracIn", "TRAK"),  # those of all models
)

# %% [markdown]
# ## Data and training


# %%
cache = Path(run.cache) / "retraining_photographs"
train, held_out = (
    trunk_features(run.network, photographs(run.data, split), split, cache)
    for split in ("train", "val")
)
order = torch.randperm(len(held_out), generator=torch.Generator().manual_seed(0))
queries, learners = (
    TensorDataset(*(tensor[rows] for tensor in held_out.tensors))
    for rows in (order[: run.queries], order[run.queries :])
)


def trained(dataset, seed: int, keep: list | None = None) -> nn.Module:
    """The last stage, trained on a dataset or a part of it; ``keep`` gets its checkpoints."""
    rows = getattr(dataset, "indices", None)
    whole = dataset if rows is None else dataset.dataset
    x, y = whole.tensors if rows is None else (tensor[rows] for tensor in whole.tensors)
    model = last_stage(run.network, 2)
    states = train_with_checkpoints(model, x, y, run.epochs, run.every, norms_learn=False)
    if keep is not None:
        keep.extend(states)
    return model


retrained = retrain_subsets(
    trained,
    train,
    random_subsets(len(train), run.subsets),
    MeasuredOutput(*queries.tensors),
    cache / "halves",
    seeds=run.seeds,
    settings={"epochs": run.epochs, "network": run.network},
    show_progress=True,
)

# %% [markdown]
# ## Scores


# %%
told = {key: getattr(run, key) for key in ("queries", "epochs", "every", "network")}


@lru_cache
def whole_model(seed: int) -> tuple[nn.Sequential, list]:
    """A network of everything, and its checkpoints."""

    def states() -> list:
        found: list = []
        torch.manual_seed(1000 + seed)
        trained(train, 1000 + seed, found)
        return found

    checkpoints = kept_states(cache / f"model {seed}.safetensors", told, states)
    model = last_stage(run.network, 2)
    model.load_state_dict(checkpoints[-1])
    return model.eval(), checkpoints


scores = KeptScores(
    cache, told, Asked(train, queries, learners), whole_model, run.curvature_of, run.dimension
)
one, several = scores.of_one_and_all(run.scores, run.several, run.models)

# %% [markdown]
# ## Random halves

# %%
record = Record("What retraining says: ants and bees", run.out, run)
record.say("## What was measured")
model = whole_model(0)[0]
with torch.no_grad():
    right = normal_interval((model(queries.tensors[0]).argmax(1) == queries.tensors[1]).double())
of_halves = normal_interval((retrained.outputs > 0).double().mean(1))
record.say(
    f"{len(train)} photographs, the last stage of {run.network}, {run.epochs} epochs, "
    f"{run.queries} queries. The network of everything is right on {right} of the queries, those "
    f"of halves on {of_halves}. {run.subsets} random halves, {len(run.seeds)} training(s) of each, "
    "that begin at ImageNet's weights and a new classifier; the measured output is the margin of "
    "the right class. LDS is Spearman's correlation, the mean over queries; the first interval is "
    "over queries, the second (jackknife) over halves. Weights were learned from "
    f"{len(learners)} further photographs."
)
results = lds_tables(record, one, several, run.models, retrained)

# %% [markdown]
# ## Damping
#
# What EK-FAC takes out depends on what is added to its eigenvalues.

# %%
record.say("**Damping** of EK-FAC, without norms, one model:")
layers = {"the whole stage": None, "without the norm": ["0", str(len(model) - 1)]}
damped: dict[str, list] = {}
for name, parameters in layers.items():
    curvature = fit_curvature(model, train, "ekfac", parameters=parameters)
    for damping in run.dampings:
        score = InfluenceScore(model, curvature.with_damping(damping), normalise=None)
        table = ScoreInfluence(score, train).influence(queries.tensors)
        damped.setdefault(name, []).append(linear_datamodelling_score(table, retrained))
record.table(("damping", *damped), list(zip(run.dampings, *damped.values(), strict=True)))
record.save()
