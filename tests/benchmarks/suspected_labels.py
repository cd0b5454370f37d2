"""SUSPECTED LABELS: does an audit find wrong labels that were planted, with a shortcut beside them?

``python -m tests.benchmarks.suspected_labels --work FOLDER``. Of the demo's shapes 5 % of the
training labels are made wrong; the small CNN learns them for 6 passes, or by heart in 25; in some
sets 90 % of the triangles, and every other test picture, carry the patch. What was computed stays
in FOLDER, and a run that was stopped goes on.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import torch
from torch import Tensor

from captum_tfa import GradDotScore, InfluenceScore, ScoreInfluence
from captum_tfa.auditing.mistakes import answers_of
from captum_tfa.auditing.suspected_labels import SHOWN, Tally, suspicion_of
from captum_tfa.curvature import fit_curvature
from captum_tfa.demo import SmallCNN, make_shapes, train_classifier
from captum_tfa.metrics import mislabel_detection
from captum_tfa.metrics.run_folder import RunFolder
from tests.benchmarks.markdown import table

_SETTINGS = {
    "6 passes": (6, 0.0),
    "25 passes, by heart": (25, 0.0),
    "6 passes, with the patch": (6, 0.9),
}
_PER_CLASS, _WRONG, _SEEDS, _SAMPLE = 300, 0.05, 3, 400


def main() -> None:
    """Compute what is not there yet, and write the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--work", type=Path, required=True)
    options = parser.parse_args()
    torch.set_num_threads(1)
    folder = RunFolder(options.work, {"per_class": _PER_CLASS, "wrong": _WRONG, "sample": _SAMPLE})
    rows = []
    for seed in range(_SEEDS):
        for number, (setting, (passes, patched)) in enumerate(_SETTINGS.items()):
            name = f"setting {number} seed {seed}"
            found = folder.read(name)
            if found is None:
                folder.write(name, measured(passes, patched, seed), {})
                found = folder.read(name)
            assert found is not None, "it was written a moment ago"
            wrong = found.tensors.pop("wrong").bool()
            rows.append([setting, str(seed), *(told(s, wrong) for s in found.tensors.values())])
            print(table([*_HEAD, *found.tensors], rows), flush=True)


_HEAD = ("training", "seed")


def told(suspicion: Tensor, wrong: Tensor) -> str:
    """The AUC, and how many of the first of the list are wrong."""
    first = suspicion.argsort(descending=True, stable=True)[:SHOWN]
    auc = mislabel_detection(suspicion.double(), wrong).auc
    return f"{auc.mean:.2f} ({int(wrong[first].sum())}/{SHOWN})"


def measured(passes: int, patched: float, seed: int) -> dict[str, Tensor]:
    """Suspicions of every training label, by name, and which are wrong."""
    train, test = make_shapes(_PER_CLASS, 100, shortcut_rate=patched, seed=10 + seed)
    if patched:
        every_other = (torch.arange(len(test)) % 2 == 0).view(-1, 1, 1, 1)
        test.images = torch.where(every_other, test.with_patch().images, test.images)
    generator = torch.Generator().manual_seed(seed)
    wrong = torch.rand(len(train), generator=generator) < _WRONG
    shift = torch.randint(1, 4, (len(train),), generator=generator)
    train.labels = torch.where(wrong, (train.labels + shift) % 4, train.labels)
    torch.manual_seed(seed)
    model = train_classifier(SmallCNN(4), train, passes, seed=seed)
    answers = answers_of(model, train, 4)
    places = torch.linspace(0, len(test) - 1, _SAMPLE).long().tolist()
    images = torch.stack([test[place][0] for place in places])
    labels = test.labels[places]
    score = InfluenceScore(model, fit_curvature(model, train, labels="sampled", max_examples=2000))
    scores = ScoreInfluence(score, train).influence((images, labels))
    tally = Tally.of(scores, labels, answers.labels)
    own = labels[:, None] == answers.labels
    return {
        "wrong": wrong.to(torch.uint8),
        "an audit's": suspicion_of(tally, answers.losses),
        "harm alone": tally.harm,
        "loss alone": answers.losses,
        "harm to own class": -tally.own_total / tally.own.clamp_min(1),
        "own class opposed": (own & (scores < 0)).sum(0) / own.sum(0).clamp_min(1),
        "self-influence": ScoreInfluence(GradDotScore(model), train).self_influence(),
    }


if __name__ == "__main__":
    main()
