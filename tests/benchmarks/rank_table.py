"""RANK: how many training examples a second are scored for several test examples."""

from __future__ import annotations

import statistics

from tests.benchmarks import rank_contenders as ranks
from tests.benchmarks.markdown import number, spread, table, verdict
from tests.benchmarks.measuring import paired, ratios
from tests.benchmarks.models import SIDES, SMALL, build, problem
from tests.benchmarks.rank_peers import peer_rankings

# Training examples, test examples, batch size, rounds, seconds that the first call may take.
FULL = {SMALL: (2000, 16, 64, 3, 60), "resnet18": (32, 4, 16, 3, 60)}
QUICK = {SMALL: (256, 4, 64, 2, 60)}

_HEAD = ("model", "contender", "score", "examples a second", "ours is faster (spread)", "differs")
_TARGETS = {"resnet18": (1.6, 3.0), SMALL: (1.8, None)}
_EXACT = 1e-4


def section(
    model: str, train: int, tests: int, batch: int, rounds: int, limit: int
) -> dict[str, str]:
    """The table of a model and its targets."""
    rows, targets = _of_model(model, train, tests, batch, rounds, limit)
    parts = [
        f"### Ranking: {model}, {SIDES[model]}², N = {train}, Q = {tests}",
        table(_HEAD, rows),
        table(("target", "wanted", "measured", ""), targets),
    ]
    return {f"rank {model}": "\n\n".join(parts)}


def _of_model(
    model: str, train: int, tests: int, batch: int, rounds: int, limit: int
) -> tuple[list[list[str]], list[list[str]]]:
    given = problem(build(model), SIDES[model], train, tests)
    rankings = {**ranks.own_rankings(given, batch), **peer_rankings(given, batch)}
    few = problem(given.model, SIDES[model], 4, tests)
    small = {**ranks.own_rankings(few, batch), **peer_rankings(few, batch)}
    wanted = {score: ranks.naive(few, score)() for score in (ranks.COS, ranks.DOT)}
    times, reasons = paired(
        {name: ranking.call for name, ranking in rankings.items()}, rounds, limit
    )
    rows, faster, exact = [], {}, []
    for name, ranking in rankings.items():
        if name in reasons:
            rows.append([model, name, ranking.score, reasons[name], "-", "-"])
            continue
        reference = wanted[ranking.score]
        difference = float((small[name].call() - reference).norm() / reference.norm())
        ratio = ratios(times[name], times[ranks.OURS])
        faster[name] = ratio[0]
        if name != ranks.OURS and difference <= _EXACT:
            exact.append(name)
        rate = train / statistics.median(times[name])
        cells = [number(rate), spread(ratio), f"{difference:.0e}"]
        rows.append([model, name, ranking.score, *cells])
    return rows, _targets(model, faster, exact)


def _targets(model: str, faster: dict[str, float], exact: list[str]) -> list[list[str]]:
    of_peer, of_captum = _TARGETS[model]
    best = min(exact, key=lambda name: faster[name])
    rows = [
        verdict(
            f"faster than {best}, the best exact one",
            f"≥ {of_peer}",
            faster[best],
            faster[best] >= of_peer,
        )
    ]
    captum = [ratio for name, ratio in faster.items() if name.startswith("captum")]
    if of_captum is not None and captum:
        ratio = min(captum)
        rows.append(
            verdict("faster than captum's best", f"≥ {of_captum}", ratio, ratio >= of_captum)
        )
    return rows
