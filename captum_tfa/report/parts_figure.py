"""Pictures of parts of a network: what each contributes where, and how much each may count.

`draw_parts`: one row a training image; for each group of parameters the map of its contribution,
and beside it the bar of its part of the score. `draw_weights`: the learned weight of each group.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize, TwoSlopeNorm
from matplotlib.figure import Figure
from torch import Tensor

from captum_tfa.report.drawing import (
    INK,
    OPPONENT,
    PROPONENT,
    QUIET,
    frame,
    rgb,
    short,
    show_picture,
)
from captum_tfa.scores import ParameterWeights

if TYPE_CHECKING:
    from captum_tfa.report.parts import ExplainedParts, PartedExample

MOST_GROUPS = 8
"""Most groups that a figure of parts draws: those of the largest parts."""


def draw_parts(explained: ExplainedParts) -> Figure:
    """A new figure of ``explained``; touches no global state of matplotlib."""
    shown = _largest(explained)
    rows = len(explained.examples)
    columns = 2 + len(shown)
    figure = Figure(figsize=(1.7 * columns + 1.2, 1.75 * rows + 1.15), facecolor="white")
    top = 1 - 0.85 / (1.75 * rows + 1.15)
    grid = figure.add_gridspec(
        rows, 3 * columns, width_ratios=[5, 1, 0.9] * columns,
        left=0.02, right=0.9, bottom=0.03, top=top, wspace=0.06, hspace=0.34,
    )  # fmt: skip
    title = f"why “{short(explained.label_name)}”?  {explained.score_name}, part by part"
    figure.text(0.02, 0.985, title, fontsize=12, fontweight="bold", color=INK, va="top")
    for row, example in enumerate(explained.examples):
        scale = _scale(example)
        most = max(float(example.parts.abs().max()), abs(example.score), 1e-30)
        picture = figure.add_subplot(grid[row, 0])
        show_picture(picture, example.image)
        frame(picture, INK)
        picture.set_title(
            f"{short(example.label_name, 16)} · #{example.index}", fontsize=8.5, color=INK, pad=3
        )
        cells = [("whole network", example.map, example.score)]
        cells += [
            (explained.groups[group], example.maps[group], float(example.parts[group]))
            for group in shown
        ]
        for column, (name, map, part) in enumerate(cells, start=1):
            axes = figure.add_subplot(grid[row, 3 * column])
            _show_map(axes, example.image, map, scale)
            axes.set_title(
                f"{short(name, 16)}\n{part:+.3g}".replace("-", "−"),
                fontsize=8.5, color=INK, pad=3, linespacing=1.2,
            )  # fmt: skip
            _draw_bar(figure.add_subplot(grid[row, 3 * column + 1]), part, most)
        bar_axes = figure.add_axes((0.925, 0.12, 0.012, top - 0.2)) if row == 0 else None
        if bar_axes is not None:
            bar = figure.colorbar(ScalarMappable(scale, _colours(scale)), cax=bar_axes)
            ends = ["0", "most"] if scale.vmin == 0 else ["lowers", "0", "raises"]
            low, high = float(scale.vmin or 0), float(scale.vmax or 0)
            bar.set_ticks([low, high] if scale.vmin == 0 else [low, 0, high])
            bar.set_ticklabels(ends, fontsize=8, color=INK)
    if len(shown) < len(explained.groups):
        figure.text(
            0.9, 0.985, f"the {len(shown)} largest of {len(explained.groups)} groups",
            fontsize=8.5, color=QUIET, va="top", ha="right",
        )  # fmt: skip
    return figure


def draw_weights(weights: ParameterWeights | Mapping[str, ParameterWeights]) -> Figure:
    """A new figure of the weight of each group; of several sets of weights side by side.

    Args:
        weights: One, or several of the same groups by name.

    Raises:
        ValueError: There is none, or their groups differ.
    """
    several = {"": weights} if isinstance(weights, ParameterWeights) else dict(weights)
    if not several:
        raise ValueError("weights is empty; give at least one.")
    groups = list(next(iter(several.values())).groups)
    if any(list(each.groups) != groups for each in several.values()):
        raise ValueError("The weights have other groups each; draw those of the same groups.")
    figure = Figure(figsize=(6.5, 0.9 + 0.3 * len(groups) * max(1, 0.6 * len(several))))
    axes = figure.subplots()
    height = 0.8 / len(several)
    for number, (name, each) in enumerate(several.items()):
        places = np.arange(len(groups)) + (number - (len(several) - 1) / 2) * height
        axes.barh(places, each.weights, height * 0.92, label=name)
    axes.axvline(1 / len(groups), color=QUIET, linewidth=0.8, linestyle=":")
    axes.set_yticks(range(len(groups)), [short(group, 32) for group in groups], fontsize=8.5)
    axes.invert_yaxis()  # the first layer on top
    axes.set_xlabel("weight (dotted: all alike)", fontsize=9)
    axes.spines[["top", "right"]].set_visible(False)
    if len(several) > 1:
        axes.legend(fontsize=8.5, frameon=False)
    figure.tight_layout()
    return figure


def _largest(explained: ExplainedParts) -> list[int]:
    """The groups that are drawn, in the network's order."""
    sizes = [0.0] * len(explained.groups)
    for example in explained.examples:
        whole = float(example.parts.abs().sum()) or 1.0
        sizes = [
            size + abs(float(part)) / whole for size, part in zip(sizes, example.parts, strict=True)
        ]
    order = sorted(range(len(sizes)), key=lambda group: -sizes[group])
    return sorted(order[:MOST_GROUPS])


def _scale(example: PartedExample) -> Normalize:
    """One scale for all maps of a training image, up to what 1 pixel in 100 passes."""
    values = np.concatenate([example.map.numpy().ravel(), example.maps.numpy().ravel()])
    most = float(np.quantile(np.abs(values), 0.99)) or float(np.abs(values).max()) or 1.0
    if values.min() >= 0:
        return Normalize(0.0, most, clip=True)
    return TwoSlopeNorm(0.0, -most, most)


def _colours(scale: Normalize) -> str:
    return "magma_r" if scale.vmin == 0 else "RdBu"


def _show_map(axes: Axes, image: Tensor, map: Tensor, scale: Normalize) -> None:
    axes.imshow(
        np.clip(map.numpy(), scale.vmin, scale.vmax),
        cmap=_colours(scale), norm=scale, interpolation="nearest",
    )  # fmt: skip
    outline = rgb(image).mean(axis=2)
    axes.imshow(outline, cmap="gray", alpha=0.18, vmin=0, vmax=1, interpolation="nearest")
    frame(axes, QUIET)


def _draw_bar(axes: Axes, part: float, most: float) -> None:
    axes.bar([0], [part], color=PROPONENT if part > 0 else OPPONENT)
    axes.axhline(0, color=INK, linewidth=0.8)
    axes.set_ylim(-most, most)
    axes.set_xlim(-0.6, 0.6)
    axes.axis("off")
