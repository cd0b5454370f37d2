"""RANK: how many training examples a second are scored for several test examples."""

from __future__ import annotations

import statistics

from tests.benchmarks import rank_contenders as ranks
from tests.benchmarks.markdown import number, spread, table, verdict
from tests.benchmarks.measuring import paired, ratios
from tests.benchmarks.models import SIDES, SMALL, build, problem, small_nets
from tests.benchmarks.rank_peers import peer_rankings

# Training examples, test examples, batch size, rounds, seconds that the first call may take.
FULL = {SMALL: (2000, 16, 64, 3, 60), "resnet18": (64, 4, 16, 3, 120)}
QUICK = {SMALL: (256, 4, 64, 2, 60)}

# Training examples, test examples, batch size and rounds of the table of small nets.
FULL_SMALL = (512, 16, 64, 9)
QUICK_SMALL = (128, 4, 64, 2)
SMALL_NETS = "small nets"

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


def small(train: int, tests: int, batch: int, rounds: int) -> dict[str, str]:
    """The table of ours against vmap, net by net."""
    rows = []
    for name, net in small_nets().items():
        given = problem(net, 32, train, tests)
        calls = {
            ranks.OURS: ranks.ours(given, batch),
            ranks.VMAP: ranks.vmapped(given, batch),
        }
        times, _ = paired(calls, rounds)
        rates = [number(train / statistics.median(times[side])) for side in calls]
        count = sum(parameter.numel() for parameter in net.parameters())
        faster = spread(ratios(times[ranks.VMAP], times[ranks.OURS]))
        rows.append([name, f"{count:,}", *rates, faster])
    title = f"### Ranking: {SMALL_NETS} against vmap, 32², N = {train}, Q = {tests}"
    head = ("net", "parameters", "ours, examples a second", "vmap", "ours is faster (spread)")
    return {f"rank {SMALL_NETS}": f"{title}\n\n{table(head, rows)}"}


def _of_model(
    model: str, train: int, tests: int, batch: int, rounds: int, limit: int
) -> tuple[list[list[str]], list[list[str]]]:
    given = problem(build(model), SIDES[model], train, tests)
    rankings = {**ranks.own_rankings(given, batch), **peer_rankings(given, batch)}
    few = problem(given.model, SIDES[model], 4, tests)
    of_few = {**ranks.own_rankings(few, batch), **peer_rankings(few, batch)}
    wanted = {score: ranks.naive(few, score)() for score in (ranks.COS, ranks.DOT)}
    floors = ranks.floors(given, batch)
    calls = {name: ranking.call for name, ranking in rankings.items()}
    times, reasons = paired({**calls, **floors}, rounds, limit)
    rows, faster, exact = [], {}, []
    for name, ranking in rankings.items():
        if name in reasons:
            rows.append([model, name, ranking.score, reasons[name], "-", "-"])
            continue
        reference = wanted[ranking.score]
        difference = float((of_few[name].call() - reference).norm() / reference.norm())
        ratio = ratios(times[name], times[ranks.OURS])
        faster[name] = ratio[0]
        if name != ranks.OURS and difference <= _EXACT:
            exact.append(name)
        rate = train / statistics.median(times[name])
        cells = [number(rate), spread(ratio), f"{difference:.0e}"]
        rows.append([model, name, ranking.score, *cells])
    for name in floors:
        rate = train / statistics.median(times[name])
        ratio = ratios(times[name], times[ranks.OURS])
        rows.append([model, f"*{name}*", "-", number(rate), spread(ratio), "-"])
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
