"""The report of an explanation: one HTML page that opens anywhere, without a network.

Pictures and maps stand in the page itself; its script draws the maps, so that they can be faded,
blinked, enlarged and read out. What a user gives (names of classes and files) is escaped. A
Content-Security-Policy lets nothing be loaded and no script or style run but the page's own, which
it names by their hashes.
"""

from __future__ import annotations

import base64
import hashlib
import html
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from importlib import resources
from itertools import zip_longest
from typing import Any

import numpy as np
from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup
from matplotlib.colors import Colormap, to_hex

from captum_tfa.report import caveats, embedding
from captum_tfa.report.again import how_again
from captum_tfa.report.explanation import Explanation, TrainingExample
from captum_tfa.report.heat import COLD_COLOURS, HEAT_COLOURS, common_top, heats
from captum_tfa.report.methods import Method

MOST_BYTES = 20_000_000
"""About so large a page may be. The images that come last on each side are left out before that."""

_SCRIPTS = ("maps.js", "cards.js", "controls.js")
_HEIGHT = 900  # pixels of the frame in a notebook
_LEGEND_STOPS = 9
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
    styles, script = _own("page.css"), "\n".join(map(_own, _SCRIPTS))
    shown = [card.example for card in (*proponents, *opponents)]
    methods = (explanation.method, *explanation.more_methods)
    environment = Environment(
        loader=PackageLoader("captum_tfa.report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.policies["json.dumps_kwargs"] = {"allow_nan": False}  # and the order as given
    return environment.get_template("page.html.jinja").render(
        explanation=explanation,
        policy=_policy(styles, script),
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
                    "top": common_top([h for e in shown for h in heats(explanation, e, method)]),
                }
                for method in methods
            },
            "cards": {
                card.key: {"direction": 1 if card.example.score > 0 else -1, "maps": card.maps}
                for card in (*proponents, *opponents)
            },
            "heat": _table(HEAT_COLOURS),
            "cold": _table(COLD_COLOURS),
        },
        legends=[_legend("heat", HEAT_COLOURS), _legend("cold", COLD_COLOURS)],
        labels=sorted({example.label_name for example in shown}),
        most_score=max((abs(example.score) for example in shown), default=0.0) or 1.0,
        score_caveats=caveats.of_scores(explanation),
        map_caveats=caveats.of_maps(explanation),
        reduced=any(map(embedding.is_reduced, _pictures(explanation.test_image, shown))),
        again=how_again(explanation),
        most_megabytes=round(most_bytes / 1e6),
        small=max(explanation.test_image.shape[-2:]) <= 64,
    )


def in_notebook(explanation: Explanation) -> str:
    """The page in a frame of its own, in which it cannot touch the notebook around it."""
    return (
        f'<iframe title="{html.escape(explanation.question)}" sandbox="allow-scripts" '
        f'width="100%" height="{_HEIGHT}" frameborder="0" '
        f'srcdoc="{html.escape(render(explanation))}"></iframe>'
    )


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


def _own(name: str) -> str:
    """A file of the page, with the line ends that its hash is of."""
    file = resources.files("captum_tfa.report") / "templates" / name
    return file.read_text(encoding="utf-8").replace("\r\n", "\n")


def _policy(styles: str, script: str) -> str:
    def hashed(text: str) -> str:
        digest = hashlib.sha256(text.encode()).digest()
        return f"'sha256-{base64.b64encode(digest).decode()}'"

    return (
        f"default-src 'none'; script-src {hashed(script)}; style-src {hashed(styles)}; "
        "img-src data:; base-uri 'none'; form-action 'none'"
    )


def _table(colours: Colormap) -> list[list[int]]:
    """The colours of a scale, ``[256, 4]`` from 0 to 255."""
    table: list[list[int]] = colours(np.arange(256), bytes=True).tolist()
    return table


def _legend(name: str, colours: Colormap) -> dict[str, Any]:
    """The colours of a scale for a bar of the page."""
    stops = np.linspace(0, 1, _LEGEND_STOPS)
    return {
        "name": name,
        "stops": [
            (round(float(stop), 3), to_hex(colours(stop)), round(float(colours(stop)[3]), 3))
            for stop in stops
        ],
    }
