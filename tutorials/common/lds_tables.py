"""Tables of linear datamodelling scores: with and without learned weights, one model and several.

Differences of two scores have jackknife intervals over subsets: few subsets are the greater doubt.
"""

from __future__ import annotations

from collections.abc import Mapping

import matplotlib.pyplot as plt
import torch
from torch import Tensor

from captum_tfa.metrics.datamodelling import LinearDatamodellingScore, linear_datamodelling_score
from captum_tfa.metrics.intervals import Interval, jackknife_interval, normal_interval
from captum_tfa.metrics.similarity import spearman
from captum_tfa.metrics.subsets import Retrained
from common.record import Record
from common.score_family import WEIGHTED

Results = dict[tuple[str, int], LinearDatamodellingScore]


def gain(better: Tensor, than: Tensor, retrained: Retrained) -> Interval:
    """The difference of two scores' LDS, with its 95 % jackknife interval over subsets.

    Args:
        better: Scores ``[Q, N]``.
        than: What they are compared with, likewise.
        retrained: Models trained on subsets.
    """
    members, outputs = retrained.over_seeds()
    sums = [scores.double() @ members.double().T for scores in (better, than)]

    def of(rows: Tensor) -> float:
        found = [spearman(each[:, rows], outputs.T[:, rows]) for each in sums]
        return float((found[0] - found[1]).nan_to_num(0.0).mean())

    return jackknife_interval(of, len(members))


def seeds_agree(retrained: Retrained) -> Interval | None:
    """The rank correlation over subsets of two trainings that differ in their seed alone.

    The mean over queries with its normal interval; None if fewer than three subsets have two.
    """
    first, second, *_ = [*retrained.seeds.unique().tolist(), None, None]
    sides: list[dict[bytes, Tensor]] = [
        {
            members.numpy().tobytes(): outputs
            for members, outputs, own in zip(
                retrained.members, retrained.outputs, retrained.seeds, strict=True
            )
            if int(own) == seed
        }
        for seed in (first, second)
    ]
    both = [key for key in sides[0] if key in sides[1]]
    if len(both) < 3:
        return None
    tables = [torch.stack([side[key] for key in both], 1) for side in sides]
    return normal_interval(spearman(*tables))


def lds_tables(
    record: Record,
    one: Mapping[str, Tensor],
    several: Mapping[str, Tensor],
    models: int,
    retrained: Retrained,
) -> Results:
    """Writes the tables and the figure.

    Args:
        record: Where they go.
        one: Scores ``[Q, N]`` of one model, by name.
        several: Those of several models.
        models: How many these are.
        retrained: Models trained on subsets.

    Returns:
        The results by name and number of models.
    """
    agree = seeds_agree(retrained)
    if agree is not None:
        record.say(
            "Two trainings of one half with another seed agree over halves to a rank correlation "
            f"of {agree} (the mean over queries, with its interval over these): what chance "
            "leaves to be predicted."
        )
    results: Results = {}
    rows: list[tuple[object, ...]] = []
    for count, found in ((1, one), (models, several)):
        for name in plain(found):
            results[name, count] = linear_datamodelling_score(found[name], retrained)
            row: list[object] = [name, str(count), results[name, count], "–", "–"]
            if name + WEIGHTED in found:
                weighted = found[name + WEIGHTED]
                results[name + WEIGHTED, count] = linear_datamodelling_score(weighted, retrained)
                row[3:] = results[name + WEIGHTED, count], gain(weighted, found[name], retrained)
            rows.append(tuple(row))
    record.table(("score", "models", "LDS", "LDS with learned weights", "gain by weights"), rows)
    record.say("**Differences of LDS**, with jackknife intervals over halves:")
    record.table(
        ("score", "one model: LDS − LDS of grad-dot", f"{models} models − one"),
        [
            (
                name,
                "–" if name == "grad-dot" else gain(one[name], one["grad-dot"], retrained),
                gain(several[name], one[name], retrained) if name in several else "–",
            )
            for name in plain(one)
        ],
    )
    _draw(record, results)
    return results


def plain(found: Mapping[str, Tensor]) -> list[str]:
    """The names of scores without weights."""
    return [
        name for name in found if not name.startswith("weights of") and not name.endswith(WEIGHTED)
    ]


def _draw(record: Record, results: Results) -> None:
    figure, axis = plt.subplots(figsize=(7, 0.22 * len(results) + 1), layout="constrained")
    for place, ((name, _), result) in enumerate(results.items()):
        colour = "tab:orange" if name.endswith(WEIGHTED) else "tab:blue"
        axis.plot(result.over_subsets[1:], [place, place], color=colour)
        axis.scatter(result.mean, place, color="black", s=14, zorder=3)
    axis.axvline(0, color="grey", linestyle="dotted")
    axis.set_yticks(
        range(len(results)), [f"{name} ({count})" for name, count in results], fontsize=7
    )
    axis.invert_yaxis()
    axis.set_xlabel("LDS")
    record.figure(
        figure,
        "lds",
        "LDS over random halves with 95 % jackknife intervals over halves, orange with learned "
        "weights; in brackets the number of models.",
    )
