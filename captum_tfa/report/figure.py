"""The figure of an explanation.

Left the test image; right a block of proponents and a block of opponents, each with the
pictures above and their heat maps below. A heat map lays saliency (the sum over channels of
``|map|``) over the faded picture, in multiples of its own mean: how many times as much as the
average pixel of its image does this pixel matter? How much an image matters as a whole is its
score; the sizes of whole gradients differ by factors of ten without a meaning for the reader.
In these units one colour scale serves all maps.
"""

from __future__ import annotations

from collections.abc import Sequence

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import ListedColormap, Normalize
from matplotlib.figure import Figure, SubFigure
from numpy.typing import NDArray
from torch import Tensor

from captum_tfa.metrics import saliency
from captum_tfa.report.explanation import Explanation, TrainingExample

MOST_COLUMNS = 10
"""Most images a side that the figure draws; the saved tensors hold all."""

_PROPONENT = "#1b6ca8"
_OPPONENT = "#b3401f"
_INK = "#222222"
_QUIET = "#666666"


def draw(explanation: Explanation) -> Figure:
    """A new figure of ``explanation``; touches no global state of matplotlib."""
    columns = min(MOST_COLUMNS, max(3, len(explanation.proponents), len(explanation.opponents)))
    widths = (2.5, 1.45 * columns, 0.85)  # inches
    figure = Figure(figsize=(sum(widths), 7.3), facecolor="white")
    thirds = figure.add_gridspec(1, 3, width_ratios=widths, wspace=0)
    left, right, bar = (figure.add_subfigure(thirds[0, place]) for place in range(3))
    _draw_test(left, explanation)

    every = (*explanation.proponents[:columns], *explanation.opponents[:columns])
    scale = _scale([example.map for example in every])
    name = _short(explanation.label_name)
    halves = right.add_gridspec(2, 1, hspace=0)
    for place, (title, way, examples, colour) in enumerate(
        (
            ("Proponents", "more", explanation.proponents, _PROPONENT),
            ("Opponents", "less", explanation.opponents, _OPPONENT),
        )
    ):
        panel = right.add_subfigure(halves[place, 0])
        panel.text(0.02, 0.975, title, fontsize=12.5, fontweight="bold", color=colour, va="top")
        meaning = f"learning these makes “{name}” {way} likely here"
        if len(examples) > columns:
            meaning += f"; the first {columns} of {len(examples)}"
        panel.text(0.02, 0.907, meaning, fontsize=9.5, color=_QUIET, va="top")
        _draw_block(panel, examples[:columns], colour, columns, scale)
    if every:
        _draw_colour_bar(bar, scale)
    return figure


def _draw_test(panel: SubFigure, explanation: Explanation) -> None:
    axes = panel.add_axes((0.08, 0.46, 0.84, 0.34))
    _show_picture(axes, explanation.test_image)
    _frame(axes, _INK)
    axes.set_title("Test image", fontsize=12.5, fontweight="bold", color=_INK, pad=8)
    said, asked = _short(explanation.predicted_name), _short(explanation.label_name)
    agrees = explanation.label == explanation.predicted
    lines = (
        ("model says", f"{said} ({explanation.confidence:.1%})"),
        ("given label", asked if explanation.label_given else "none"),
        ("question", f"why “{asked}”?" if agrees else f"why not “{asked}”?"),
    )
    for row, (what, answer) in enumerate(lines):
        y = 0.425 - 0.062 * row
        panel.text(0.08, y, what, fontsize=8.5, color=_QUIET, va="top")
        panel.text(0.08, y - 0.022, answer, fontsize=11, color=_INK, va="top")


def _draw_block(
    panel: SubFigure,
    examples: Sequence[TrainingExample],
    colour: str,
    columns: int,
    scale: Normalize,
) -> None:
    if not examples:
        none = "No training image has such a score."
        panel.text(0.02, 0.7, none, fontsize=11, color=_INK, va="top")
        return
    grid = panel.add_gridspec(
        2, columns, left=0.02, right=0.99, bottom=0.03, top=0.76, wspace=0.08, hspace=0.06
    )
    for column, example in enumerate(examples):
        picture, heat = (panel.add_subplot(grid[row, column]) for row in (0, 1))
        _show_picture(picture, example.image)
        _show_heat(heat, example, scale)
        for axes in (picture, heat):
            _frame(axes, colour)
        score = f"{example.score:+.3f}".replace("-", "−")
        picture.set_title(
            f"{_short(example.label_name, 17)}\n{score}  ·  #{example.index}",
            fontsize=8.5,
            color=_INK,
            pad=3,
            linespacing=1.25,
        )


def _draw_colour_bar(panel: SubFigure, scale: Normalize) -> None:
    axes = panel.add_axes((0.1, 0.2, 0.17, 0.6))
    axes.set_facecolor("#7d7d7d")
    bar = panel.colorbar(ScalarMappable(scale, _HEAT), cax=axes, extend="max")
    bar.ax.yaxis.set_major_formatter("{x:g}×")
    bar.ax.tick_params(labelsize=8, colors=_INK)
    bar.set_label("influence of a pixel, times its image's mean", fontsize=9, color=_INK)


def relative_saliency(map: Tensor) -> Tensor:
    """Saliency in multiples of its mean, ``[H, W]``; a map of zeros stays zeros."""
    values = saliency(map).double()
    mean = values.mean()
    return values / mean if mean > 0 else values


def _scale(maps: Sequence[Tensor]) -> Normalize:
    """One scale for all maps, up to what 1 pixel in 200 of the typical map passes."""
    tops = [np.quantile(relative_saliency(one).numpy(), 0.995) for one in maps]
    tops = [top for top in tops if top > 0]
    return Normalize(0.0, float(np.median(tops)) if tops else 1.0, clip=True)


def _show_picture(axes: Axes, image: Tensor) -> None:
    axes.imshow(_rgb(image), interpolation="nearest")


def _show_heat(axes: Axes, example: TrainingExample, scale: Normalize) -> None:
    grey = _rgb(example.image).mean(axis=2)
    axes.imshow(0.12 + 0.5 * grey, cmap="gray", vmin=0, vmax=1, interpolation="nearest")
    axes.imshow(
        relative_saliency(example.map).numpy(), cmap=_HEAT, norm=scale, interpolation="nearest"
    )


def _rgb(image: Tensor) -> NDArray[np.float32]:
    """``[H, W, 3]`` of a picture with three channels; of any other number, their mean in grey."""
    if len(image) != 3:
        image = image.mean(dim=0, keepdim=True).expand(3, -1, -1)
    pixels: NDArray[np.float32] = image.permute(1, 2, 0).float().numpy()
    return pixels


def _frame(axes: Axes, colour: str) -> None:
    axes.set_xticks([])
    axes.set_yticks([])
    for side in axes.spines.values():
        side.set(color=colour, linewidth=1.0)


def _short(text: str, most: int = 24) -> str:
    """``text``, cut in the middle if it is too long for its place; never read as mathematics."""
    if len(text) > most:
        text = f"{text[: most // 2 - 1]}…{text[-(most - most // 2) :]}"
    return text.replace("$", r"\$")


def _heat_colours() -> ListedColormap:
    """Inferno's bright part, transparent at 0, so that the picture shows where nothing happens."""
    steps = np.linspace(0, 1, 256)
    colours = matplotlib.colormaps["inferno"](0.25 + 0.75 * steps)
    colours[:, 3] = np.minimum(1, 1.5 * steps) ** 1.3
    return ListedColormap(colours, name="captum_tfa_heat")


_HEAT = _heat_colours()
