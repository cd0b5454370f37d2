"""The figure of an explanation.

Left the test image; right a block of proponents and a block of opponents. Below each training
image stand its two heat maps: where in itself, and where in the test image, its influence comes
from. A heat map lays what `Method.heat` gives over the faded picture, in multiples of its own mean:
how many times as much as the average pixel of its image does this pixel matter? How much an image
matters as a whole is its score; the sizes of whole gradients differ by factors of ten without a
meaning for the reader. In these units one colour scale serves all maps.
"""

from __future__ import annotations

from collections.abc import Sequence

from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure, SubFigure
from matplotlib.ticker import MaxNLocator
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
from captum_tfa.report.explanation import Explanation, TrainingExample
from captum_tfa.report.heat import HEAT_COLOURS, common_top, heats

MOST_COLUMNS = 10
"""Most images a side that the figure draws; the saved tensors hold all."""

_LEFT = 0.065  # of a block, where its pictures begin
_ROWS = ("training image", "where in the\ntraining image", "where in the\ntest image")


def draw(explanation: Explanation) -> Figure:
    """A new figure of ``explanation``; touches no global state of matplotlib."""
    columns = min(MOST_COLUMNS, max(3, len(explanation.proponents), len(explanation.opponents)))
    widths = (2.5, 0.4 + 1.45 * columns, 1.0)  # inches
    figure = Figure(figsize=(sum(widths), 10.2), facecolor="white")
    thirds = figure.add_gridspec(1, 3, width_ratios=widths, wspace=0)
    left, right, bar = (figure.add_subfigure(thirds[0, place]) for place in range(3))
    _draw_test(left, explanation)

    every = (*explanation.proponents[:columns], *explanation.opponents[:columns])
    drawn = [heat for example in every for heat in heats(explanation, example)]
    scale = Normalize(0.0, common_top(drawn), clip=True)
    name = short(explanation.label_name)
    halves = right.add_gridspec(2, 1, hspace=0)
    for place, (title, way, examples, colour) in enumerate(
        (
            ("Proponents", "more", explanation.proponents, PROPONENT),
            ("Opponents", "less", explanation.opponents, OPPONENT),
        )
    ):
        panel = right.add_subfigure(halves[place, 0])
        panel.text(_LEFT, 0.98, title, fontsize=12.5, fontweight="bold", color=colour, va="top")
        meaning = f"learning these makes “{name}” {way} likely here"
        if len(examples) > columns:
            meaning += f"; the first {columns} of {len(examples)}"
        panel.text(_LEFT, 0.932, meaning, fontsize=9.5, color=QUIET, va="top")
        _draw_block(panel, explanation, examples[:columns], colour, columns, scale)
    if every:
        _draw_colour_bar(bar, scale, explanation.method.legend)
    return figure


def _draw_test(panel: SubFigure, explanation: Explanation) -> None:
    axes = panel.add_axes((0.08, 0.53, 0.84, 0.22))
    show_picture(axes, explanation.test_image)
    frame(axes, INK)
    axes.set_title("Test image", fontsize=12.5, fontweight="bold", color=INK, pad=8)
    said, asked = short(explanation.predicted_name), short(explanation.label_name)
    agrees = explanation.label == explanation.predicted
    lines = (
        ("model says", f"{said} ({explanation.confidence:.1%})"),
        *([("you ask about", asked)] if explanation.label_given else []),
        ("question", f"why “{asked}”?" if agrees else f"why not “{asked}”?"),
        ("maps", short(_map_word(explanation))),
    )
    for row, (what, answer) in enumerate(lines):
        y = 0.5 - 0.05 * row
        panel.text(0.08, y, what, fontsize=8.5, color=QUIET, va="top")
        panel.text(0.08, y - 0.017, answer, fontsize=11, color=INK, va="top")


def _map_word(explanation: Explanation) -> str:
    """The method, and the layer if there is one."""
    layer = explanation.settings.get("layer")
    word = explanation.method.name.replace("_x_", " × ").replace("_", " ")
    return word if layer is None else f"{word} at {layer}"


def _draw_block(
    panel: SubFigure,
    explanation: Explanation,
    examples: Sequence[TrainingExample],
    colour: str,
    columns: int,
    scale: Normalize,
) -> None:
    if not examples:
        none = "No training image has such a score."
        panel.text(_LEFT, 0.7, none, fontsize=11, color=INK, va="top")
        return
    grid = panel.add_gridspec(
        3, columns, left=_LEFT, right=0.99, bottom=0.03, top=0.835, wspace=0.08, hspace=0.06
    )
    for column, example in enumerate(examples):
        rows = [panel.add_subplot(grid[row, column]) for row in range(3)]
        of_train, of_test = heats(explanation, example)
        show_picture(rows[0], example.image)
        _show_heat(rows[1], example.image, of_train, scale)
        _show_heat(rows[2], explanation.test_image, of_test, scale)
        for axes, what in zip(rows, _ROWS, strict=True):
            frame(axes, colour)
            if column == 0:
                axes.set_ylabel(what, fontsize=8.5, color=QUIET, labelpad=4)
        score = example.score_text.replace("-", "−")
        rows[0].set_title(
            f"{short(example.label_name, 17)}\n{score}  ·  #{example.index}",
            fontsize=8.5,
            color=INK,
            pad=3,
            linespacing=1.25,
        )


def _draw_colour_bar(panel: SubFigure, scale: Normalize, legend: str) -> None:
    axes = panel.add_axes((0.1, 0.25, 0.15, 0.5))
    axes.set_facecolor("#7d7d7d")
    bar = panel.colorbar(ScalarMappable(scale, HEAT_COLOURS), cax=axes, extend="max")
    bar.ax.yaxis.set_major_locator(MaxNLocator(6, integer=True))
    bar.ax.yaxis.set_major_formatter("{x:g}×")
    bar.ax.tick_params(labelsize=8, colors=INK)
    bar.set_label(f"{legend}, times its image’s mean", fontsize=9, color=INK)


def _show_heat(axes: Axes, image: Tensor, heat: Tensor, scale: Normalize) -> None:
    grey = rgb(image).mean(axis=2)
    axes.imshow(0.12 + 0.5 * grey, cmap="gray", vmin=0, vmax=1, interpolation="nearest")
    axes.imshow(heat.numpy(), cmap=HEAT_COLOURS, norm=scale, interpolation="nearest")
