"""Two charts of an audit's page: the control, and where the maps lie beside each other."""

from __future__ import annotations

from typing import Any

from captum_tfa.auditing.result import Audit

_WIDTH, _HEIGHT = 520, 360
_EDGE = 16
_NAMES = 110  # pixels at the left, for what a row is
_MOST_POINTS = 2000


def strengths(audit: Audit) -> dict[str, Any] | None:
    """Where the clusters and the tops of the control draws stand on one scale of strength."""
    if audit.control is None or not audit.clusters:
        return None
    drawn = list(audit.control.strengths)
    found = [cluster.strength for cluster in audit.clusters]
    low, high = min(0.0, *drawn, *found), max(*drawn, *found, audit.control.needed)
    span = (high - low) or 1.0

    def across(value: float) -> float:
        return round(_NAMES + (value - low) / span * (_WIDTH - _NAMES - _EDGE), 1)

    return {
        "control": [across(value) for value in drawn],
        "found": [
            {
                "x": across(value),
                "number": number,
                "stands_out": cluster.stands_out,
                "strength": value,
            }
            for number, (value, cluster) in enumerate(zip(found, audit.clusters, strict=True), 1)
        ],
        "needed": across(audit.control.needed),
        "least": audit.control.needed,
        "names": _NAMES,
        "width": _WIDTH,
        "low": low,
        "high": high,
        "draws": len(drawn),
    }


def embedding(audit: Audit) -> dict[str, Any] | None:
    """The pairs as points: near ones have maps and patches that are alike."""
    regions = audit.regions
    if regions is None or len(regions.embedding) < 3:
        return None
    points = regions.embedding.double()
    low, high = points.amin(0), points.amax(0)
    scaled = (points - low) / (high - low).clamp_min(1e-12)
    step = -(-len(points) // _MOST_POINTS)
    shown = range(0, len(points), step)
    colours = {
        place: number
        for number, place in enumerate(
            place for place, cluster in enumerate(regions.clusters) if cluster.stands_out
        )
    }
    return {
        "width": _WIDTH,
        "height": _HEIGHT,
        "points": [
            {
                "x": round(_EDGE + float(scaled[row, 0]) * (_WIDTH - 2 * _EDGE), 1),
                "y": round(_EDGE + (1 - float(scaled[row, 1])) * (_HEIGHT - 2 * _EDGE), 1),
                "colour": colours.get(int(regions.groups[row])),
            }
            for row in shown
        ],
        "left_out": len(points) - len(shown),
        "numbers": [place + 1 for place in colours],
    }
