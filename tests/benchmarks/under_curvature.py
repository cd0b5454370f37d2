"""CURVATURE: what a ranking and a map under EK-FAC cost, beside grad-cos and kronfluence."""

from __future__ import annotations

import statistics

from torch import Tensor
from torch.utils.data import TensorDataset

from captum_tfa import GradCosScore, InfluenceScore, ScoreInfluence, TrainingGradient
from captum_tfa.curvature import Curvature
from captum_tfa.scores import Score
from tests.benchmarks.curvature_peers import Kronfluence
from tests.benchmarks.markdown import number, spread, table, verdict
from tests.benchmarks.measuring import Call, paired, ratios
from tests.benchmarks.models import Problem

_COS, _UNDER, _PEER = "grad-cos", "influence under EK-FAC", "kronfluence, ekfac"
_AT_MOST = 1.1
_MAPS = 8


def tables(
    given: Problem, curvature: Curvature, peer: Kronfluence, batch: int, rounds: int, limit: float
) -> str:
    """Two tables and the targets.

    Args:
        given: the model, ``N`` training images and ``Q`` test images.
        curvature: EK-FAC of the model.
        peer: the peer, fitted.
        batch: training images at once.
        rounds: how often each call is timed.
        limit: seconds that the first call may take.
    """
    scores = {_COS: GradCosScore(given.model), _UNDER: InfluenceScore(given.model, curvature)}
    rows: list[list[str]] = []
    targets: list[list[str]] = []
    for tests in dict.fromkeys((1, len(given.test))):
        some = Problem(
            given.model, given.train, given.train_labels, given.test[:tests], given.test_labels
        )
        calls: dict[str, Call] = {
            name: _ranking(some, each, batch) for name, each in scores.items()
        }
        if tests == len(given.test):
            calls[_PEER] = peer.rank
        what = f"ranking of {len(given.train)}, {tests} test image{'s' * (tests > 1)}"
        rows += _rows(what, calls, rounds, limit, targets)
    calls = {name: _map(given, each) for name, each in scores.items()}
    rows += _rows(f"map, {_MAPS} pairs", calls, rounds, limit, targets)
    head = ("task", "score", "s", "times grad-cos (spread)")
    return "\n\n".join([table(head, rows), table(("target", "wanted", "measured", ""), targets)])


def _rows(
    what: str, calls: dict[str, Call], rounds: int, limit: float, targets: list[list[str]]
) -> list[list[str]]:
    times, reasons = paired(calls, rounds, limit)
    rows = [[what, name, reason, "-"] for name, reason in reasons.items()]
    for name, each in times.items():
        ratio = ratios(each, times[_COS])
        rows.append([what, name, number(statistics.median(each)), spread(ratio)])
        if name == _UNDER:
            wanted = f"≤ {_AT_MOST}"
            targets.append(
                verdict(f"{what}: times grad-cos", wanted, ratio[0], ratio[0] <= _AT_MOST)
            )
    return rows


def _ranking(given: Problem, score: Score, batch: int) -> Call:
    data = TensorDataset(given.train, given.train_labels)
    influence = ScoreInfluence(score, data, batch_size=batch)
    tests = len(given.test)
    return lambda: influence.influence((given.test, given.test_labels[:tests]))


def _map(given: Problem, score: Score) -> Call:
    attribution = TrainingGradient(score)
    images, labels = given.train[:_MAPS], given.train_labels[:_MAPS]
    side = (given.test[:1], given.test_labels[:1])

    def call() -> Tensor:
        found: Tensor = attribution.attribute(images, labels, side)
        return found

    return call
