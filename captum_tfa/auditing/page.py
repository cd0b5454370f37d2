"""The report of an audit: one HTML page that opens anywhere, without a network.

It is made like the report of an explanation, and closed to all else in the same way. What matters
most comes first, and what comes last is left out, with a word, before the page gets too large.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from markupsafe import Markup

from captum_tfa.auditing import page_charts
from captum_tfa.auditing.again import how_again
from captum_tfa.auditing.clusters import Cluster
from captum_tfa.auditing.page_pictures import Pictures
from captum_tfa.auditing.result import Audit, Mistake
from captum_tfa.report.heat import HEAT_COLOURS
from captum_tfa.report.html import colour_legend, environment, framed, own_file, policy

MOST_BYTES = 20_000_000
"""About so large a page may be."""

_PACKAGE = "captum_tfa.auditing"
_TITLE = "Which parts of the training data are behind the model’s mistakes?"
_BESIDE = 6  # pictures of a kind beside each other
_PAIRS = 12  # pairs that are shown at once; the others can be unfolded
_OTHER_CLUSTERS = 12


def render(audit: Audit, most_bytes: int = MOST_BYTES) -> str:
    """The page.

    Args:
        audit: What it shows.
        most_bytes: About so large it may be.
    """
    styles = own_file("page.css") + own_file("audit.css", _PACKAGE)
    script = own_file("audit.js", _PACKAGE) + own_file("copy.js")
    pictures = Pictures(audit, most_bytes)
    # In the order of what is kept if there is not room for all.
    clusters = [_cluster(pictures, audit, n, c) for n, c in enumerate(audit.clusters, 1)]
    labels = [_label(pictures, audit, each) for each in audit.suspected_labels]
    pairs = [_pair(pictures, audit, pair) for pair in audit.pairs]
    mistakes = [_mistake(pictures, audit, m) for m in audit.mistakes if pictures.room()]
    striking = [each for each in clusters if each["stands_out"]]
    others = [each for each in clusters if not each["stands_out"]]
    return (
        environment(_PACKAGE)
        .get_template("audit.html.jinja")
        .render(
            audit=audit,
            title=_TITLE,
            headline=_headline(audit.says),
            policy=policy(styles, script),
            styles=Markup(styles),
            script=Markup(script),
            striking=striking,
            others=others[:_OTHER_CLUSTERS],
            more_others=max(0, len(others) - _OTHER_CLUSTERS),
            labels=labels,
            pairs=pairs[:_PAIRS],
            more_pairs=pairs[_PAIRS:],
            mistakes=mistakes,
            left_out=len(audit.mistakes) - len(mistakes),
            kinds=sorted({each["kind"] for each in mistakes}),
            strengths=page_charts.strengths(audit),
            embedding=page_charts.embedding(audit),
            legend=colour_legend("heat", HEAT_COLOURS),
            top=pictures.top,
            small=max(audit.image_size) <= 64,
            again=how_again(audit),
            most_megabytes=round(most_bytes / 1e6),
        )
    )


def _headline(says: str) -> tuple[str, str]:
    """What was found, and the numbers behind it."""
    first, stop, rest = says.partition(". ")
    return first + stop.strip(), rest


def in_notebook(audit: Audit) -> str:
    """The page in a frame of its own, in which it cannot touch the notebook around it."""
    return framed(_TITLE, render(audit))


def _cluster(pictures: Pictures, audit: Audit, number: int, cluster: Cluster) -> dict[str, Any]:
    """A cluster as the page shows it; those that do not stand out with fewer pictures."""
    evidence = audit.evidence
    assert evidence is not None, "clusters are of evidence"
    members = cluster.examples.tolist()[: _BESIDE if cluster.stands_out else 3]
    where = {int(member): place for place, member in enumerate(cluster.members.tolist())}
    return {
        "number": number,
        "stands_out": cluster.stands_out,
        "members": len(cluster.members),
        "images": cluster.images,
        "share": cluster.share_of_mistakes,
        "purity": [(audit.class_names[c], part) for c, part in cluster.purity.items()][:5],
        "strength": cluster.strength,
        "gap": cluster.gap,
        "lift": cluster.lift,
        "at_one_place": cluster.at_one_place,
        "p": cluster.p,
        "lacks": _lacks(cluster, audit),
        "mean_map": pictures.heat(cluster.mean_map),
        "mean_image": pictures.mean_image(cluster.members),
        "mean_patch": pictures.whole(cluster.mean_patch),
        "box": _svg_box(cluster.box, evidence.maps.shape[1:]),
        "examples": [
            {
                **_training(audit, int(evidence.indices[member]), int(evidence.labels[member])),
                "score": float(evidence.scores[member]),
                "picture": pictures.of_pair(member),
                "heat": pictures.heat_of_pair(member),
                "box": _svg_box(_around(cluster, where.get(member)), evidence.maps.shape[1:]),
                "mistake": _short(audit, audit.mistakes[int(evidence.mistakes[member])]),
            }
            for member in members
            if pictures.room()
        ],
    }


def _lacks(cluster: Cluster, audit: Audit) -> str:
    """Which of the two conditions to stand out it fails, in words; empty if none."""
    assert audit.control is not None, "clusters come with a control"
    failed = []
    if cluster.strength <= audit.control.needed:
        failed.append("its strength is not more than is needed")
    if cluster.lift < audit.control.needed_lift:
        least = f"{audit.control.needed_lift:.3g} times as often as by chance"
        failed.append(f"it comes up less than {least}")
    return "; ".join(failed)


def _around(cluster: Cluster, place: int | None) -> tuple[float, float, float, float]:
    """The typical region, moved to where a member has its peak."""
    top, left, height, width = cluster.box
    if place is None:
        return top, left, height, width
    y, x = cluster.peaks[place].tolist()
    return y + 0.5 - height / 2, x + 0.5 - width / 2, height, width


def _svg_box(box: Sequence[float], size: Sequence[int]) -> dict[str, Any]:
    """A region within the view of an SVG that lies over a picture."""
    top, left, height, width = box
    top = min(max(0.0, top), max(0.0, size[0] - height))
    left = min(max(0.0, left), max(0.0, size[1] - width))
    return {
        "view": f"0 0 {size[1]} {size[0]}",
        "x": round(left, 2),
        "y": round(top, 2),
        "width": round(width, 2),
        "height": round(height, 2),
    }


def _training(audit: Audit, index: int, label: int) -> dict[str, Any]:
    return {
        "index": index,
        "label": audit.class_names[label],
        "file": audit.train_files.get(index),
    }


def _label(pictures: Pictures, audit: Audit, suspected: Any) -> dict[str, Any]:
    return {
        **_training(audit, suspected.index, suspected.label),
        "predicted": audit.class_names[suspected.predicted],
        "suspicion": suspected.suspicion,
        "loss": suspected.loss,
        "picture": pictures.of_training(suspected.index) if pictures.room() else "",
    }


def _pair(pictures: Pictures, audit: Audit, pair: Any) -> dict[str, Any]:
    """A pair, with the first of its mistakes and of the opponents behind them."""
    return {
        "label": audit.class_names[pair.label],
        "predicted": audit.class_names[pair.predicted],
        "mistakes": len(pair.mistakes),
        "tests": [
            _short(audit, audit.mistakes[place])
            | {"picture": pictures.of_mistake(place) if pictures.room() else ""}
            for place in pair.mistakes[:_BESIDE]
        ],
        "opponents": [
            {
                **_training(audit, each.index, each.label),
                "share": each.share,
                "mistakes": each.mistakes,
                "score": each.score,
                "picture": pictures.of_training(each.index) if pictures.room() else "",
            }
            for each in pair.opponents[:_BESIDE]
        ],
        "more": max(0, len(pair.opponents) - _BESIDE),
    }


def _short(audit: Audit, mistake: Mistake) -> dict[str, Any]:
    return {
        "index": mistake.index,
        "file": mistake.file,
        "label": audit.class_names[mistake.label],
        "predicted": audit.class_names[mistake.predicted],
        "confidence": mistake.confidence,
    }


def _mistake(pictures: Pictures, audit: Audit, mistake: Mistake) -> dict[str, Any]:
    short = _short(audit, mistake)
    place = pictures.places[mistake.index]
    return {
        **short,
        "kind": f"{short['label']} called {short['predicted']}",
        "picture": pictures.of_mistake(place),
        "opponents": [
            {
                **_training(audit, index, audit.train_labels[index]),
                "score": score,
                "picture": pictures.of_training(index),
            }
            for index, score in list(zip(mistake.opponents, mistake.scores, strict=True))[:3]
        ],
    }
