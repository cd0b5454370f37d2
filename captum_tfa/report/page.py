"""The report of an explanation: one HTML page that opens anywhere, without a network.

Pictures and maps stand in the page itself; its script draws the maps, so that they can be faded,
blinked, enlarged and read out. What a user gives (names of classes and files) is escaped. A
Content-Security-Policy lets nothing be loaded and no script or style run but the page's own.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import zip_longest
from typing import Any

from markupsafe import Markup

from captum_tfa.report import caveats, embedding
from captum_tfa.report.again import how_again
from captum_tfa.report.explanation import Explanation, TrainingExample
from captum_tfa.report.heat import COLD_COLOURS, HEAT_COLOURS, common_top, heats
from captum_tfa.report.html import (
    colour_legend,
    colour_table,
    environment,
    framed,
    own_file,
    policy,
)
from captum_tfa.report.methods import Method

MOST_BYTES = 20_000_000
"""About so large a page may be. The images that come last on each side are left out before that."""

_SCRIPTS = ("maps.js", "cards.js", "controls.js", "copy.js")
_MARKUP = 3000  # characters of a card without its pictures and maps, about


@dataclass(frozen=True)
class Card:
    """A training image as the page shows it.

    Attributes:
        key: Its name in the page: ``p0``, ``p1``, ... or ``o0``, ...
        example: The training image.
        picture: Its picture as a ``data:`` address.
        maps: ``{"train": ..., "test": ...}`` for each method's name.
    """

    key: str
    example: TrainingExample
    picture: str
    maps: dict[str, dict[str, embedding.PackedMap]]

    @property
    def size(self) -> int:
        """Its characters in the page, about."""
        maps = sum(len(end["numbers"]) for both in self.maps.values() for end in both.values())
        return len(self.picture) + maps + _MARKUP


def render(explanation: Explanation, most_bytes: int = MOST_BYTES) -> str:
    """The page.

    Args:
        explanation: What it shows.
        most_bytes: About so large it may be; at least one image a side is shown.
    """
    test_picture = embedding.picture(explanation.test_image)
    proponents, opponents = _cards(explanation, most_bytes, len(test_picture))
    styles, script = own_file("page.css"), "\n".join(map(own_file, _SCRIPTS))
    shown = [card.example for card in (*proponents, *opponents)]
    methods = (explanation.method, *explanation.more_methods)
    return (
        environment()
        .get_template("page.html.jinja")
        .render(
            explanation=explanation,
            policy=policy(styles, script),
            styles=Markup(styles),
            script=Markup(script),
            test_picture=test_picture,
            sides=[
                _side("proponents", "more", proponents, explanation.proponents),
                _side("opponents", "less", opponents, explanation.opponents),
            ],
            methods=[
                {"name": method.name, "words": _words(method), "formula": method.formula}
                for method in methods
            ],
            data={
                "methods": {
                    method.name: {
                        "signed": method.signed,
                        "legend": method.legend,
                        "top": common_top(
                            [h for e in shown for h in heats(explanation, e, method)]
                        ),
                    }
                    for method in methods
                },
                "cards": {
                    card.key: {"direction": 1 if card.example.score > 0 else -1, "maps": card.maps}
                    for card in (*proponents, *opponents)
                },
                "heat": colour_table(HEAT_COLOURS),
                "cold": colour_table(COLD_COLOURS),
            },
            legends=[colour_legend("heat", HEAT_COLOURS), colour_legend("cold", COLD_COLOURS)],
            labels=sorted({example.label_name for example in shown}),
            most_score=max((abs(example.score) for example in shown), default=0.0) or 1.0,
            score_caveats=caveats.of_scores(explanation),
            map_caveats=caveats.of_maps(explanation),
            reduced=any(map(embedding.is_reduced, _pictures(explanation.test_image, shown))),
            again=how_again(explanation),
            most_megabytes=round(most_bytes / 1e6),
            small=max(explanation.test_image.shape[-2:]) <= 64,
        )
    )


def in_notebook(explanation: Explanation) -> str:
    """The page in a frame of its own, in which it cannot touch the notebook around it."""
    return framed(explanation.question, render(explanation))


def _cards(explanation: Explanation, most_bytes: int, each: int) -> tuple[list[Card], list[Card]]:
    """The first images of either side in turn, as many as fit."""
    sides: tuple[list[Card], list[Card]] = ([], [])
    methods = (explanation.method, *explanation.more_methods)
    left = most_bytes - each
    for pair in zip_longest(explanation.proponents, explanation.opponents):
        for letter, cards, example in zip("po", sides, pair, strict=True):
            if example is None:
                continue
            card = _card(f"{letter}{len(cards)}", explanation, example, methods)
            left -= card.size + each  # a card shows the test picture as well
            if left < 0 and cards:
                return sides
            cards.append(card)
    return sides


def _card(
    key: str, explanation: Explanation, example: TrainingExample, methods: Sequence[Method]
) -> Card:
    maps = explanation.maps(example)
    return Card(
        key,
        example,
        embedding.picture(example.image),
        {
            method.name: {
                "train": embedding.packed(method, maps[method][0], example.score),
                "test": embedding.packed(method, maps[method][1], example.score),
            }
            for method in methods
        },
    )


def _side(
    name: str, way: str, cards: list[Card], every: Sequence[TrainingExample]
) -> dict[str, Any]:
    return {"name": name, "way": way, "cards": cards, "left_out": len(every) - len(cards)}


def _pictures(test_image: Any, examples: Sequence[TrainingExample]) -> Iterator[Any]:
    yield test_image
    yield from (example.image for example in examples)


def _words(method: Method) -> str:
    return method.name.replace("_x_", " × ").replace("_", " ")
