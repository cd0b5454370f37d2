from __future__ import annotations

import base64
import hashlib
import html
import io
import re
from dataclasses import replace
from html.parser import HTMLParser

import numpy as np
import pytest
import torch
from PIL import Image

from captum_tfa.report import embedding
from captum_tfa.report.explanation import Answer
from captum_tfa.report.methods import METHODS
from captum_tfa.report.page import in_notebook, render
from tests.report.tiny import explanation, training_example


class Parts(HTMLParser):
    """The tags of a page with their attributes, and the texts of its scripts and styles."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.inside: list[tuple[str, str]] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        if self.tags and self.tags[-1][0] in ("script", "style") and data.strip():
            self.inside.append((self.tags[-1][0], data))

    def policy(self) -> str:
        found = [a["content"] for tag, a in self.tags if "http-equiv" in a and tag == "meta"]
        assert len(found) == 1
        assert found[0] is not None
        return found[0]


def test_the_policy_names_exactly_the_pages_own_script_and_style() -> None:
    page = Parts(render(explanation()))
    policy = page.policy()
    assert "unsafe" not in policy
    assert policy.startswith("default-src 'none'; ")
    run = [(kind, text) for kind, text in page.inside if not text.startswith("{")]  # but the data
    assert [kind for kind, _ in run] == ["style", "script"]
    for kind, text in run:
        digest = base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
        assert f"{kind}-src 'sha256-{digest}'" in policy


def test_nothing_is_loaded_from_elsewhere_and_nothing_runs_from_an_attribute() -> None:
    for _, attributes in Parts(render(explanation())).tags:
        for name, value in attributes.items():
            assert not name.startswith("on")
            assert name != "style"
            if name in ("src", "href", "srcset", "action", "data"):
                assert value is not None
                assert value.startswith(("data:image/", "#"))


EVIL = "</script><script>alert(1)</script><img src=x onerror=alert(2)>\"'&"


def test_names_of_classes_and_files_are_escaped_wherever_they_stand() -> None:
    bad = replace(training_example(1, 0.5), label_name=EVIL, file=EVIL)
    given = explanation(
        proponents=(bad,),
        label_name=EVIL,
        predicted_name=EVIL,
        answers=(Answer(0, EVIL, 0.9),),
        test_file=EVIL,
        command=EVIL,
        settings={EVIL: EVIL},
        versions={EVIL: EVIL},
    )
    plain, evil = Parts(render(explanation())), Parts(render(given))
    for tag in ("script", "img", "style"):
        images = 2 if tag == "img" else 1  # the plain one has one proponent more
        count = [sum(found == tag for found, _ in page.tags) for page in (plain, evil)]
        assert count[0] - count[1] == (images if tag == "img" else 0)
    assert EVIL not in render(given)
    assert html.escape(EVIL) in render(given).replace("&#34;", "&quot;").replace("&#39;", "&#x27;")


def test_what_was_asked_and_answered_is_told() -> None:
    answers = (Answer(1, "bee", 0.875), Answer(0, "ant", 0.1))
    page = render(explanation(answers=answers, made="2026-01-02T03:04:05+00:00", seconds=2.0))
    for part in (
        "Why does the model say “bee”, not “ant”?",
        "The 2 most probable answers",
        "87.5%",
        "Learning these makes “ant” more likely here.",
        "Learning these makes “ant” less likely here.",
        "Made at <time",
        "in 2.0 s",
        "explain(\n    model,",
        "test_target=0,",
    ):
        assert part in page
    assert "Why does the model say “bee”?" in render(explanation(label=1, label_name="bee"))


def test_a_shell_command_stands_in_for_the_call() -> None:
    page = render(explanation(command="captum-tfa demo"))
    assert "captum-tfa demo" in page
    assert "explain(\n" not in page


def test_without_images_of_a_side_that_is_said() -> None:
    page = render(explanation(proponents=(), opponents=()))
    assert page.count("No training image has such a score.") == 2


def test_what_does_not_fit_is_left_out_last_first_and_that_is_said() -> None:
    given = explanation(
        proponents=tuple(training_example(i, 0.9 - i / 100) for i in range(30)),
        opponents=tuple(training_example(i, i / 100 - 0.9) for i in range(30, 40)),
    )
    assert "left out" not in render(given)
    one = render(explanation(proponents=given.proponents[:1], opponents=()))
    two = render(explanation(proponents=given.proponents[:2], opponents=()))
    most = 12 * (len(two) - len(one))
    page = render(given, most_bytes=most)
    assert 0.7 * most < len(page) - len(render(explanation(proponents=(), opponents=()))) < most
    kept = [re.findall(rf'class="card" id="{side}(\d+)"', page) for side in "po"]
    assert kept[0] == [str(i) for i in range(len(kept[0]))]
    assert kept[1] == [str(i) for i in range(len(kept[1]))]
    assert 0 < len(kept[1]) <= len(kept[0]) <= len(kept[1]) + 1 < 30
    assert len(page) < len(render(given))
    assert f"The first {len(kept[0])} of 30 are shown; {30 - len(kept[0])} are left out" in page
    smallest = render(given, most_bytes=1)
    assert len(re.findall('class="card"', smallest)) == 2


def test_a_notebook_gets_the_same_page_in_a_frame_that_cannot_reach_out() -> None:
    given = explanation()
    frame = Parts(given._repr_html_())
    assert [tag for tag, _ in frame.tags] == ["iframe"]
    attributes = frame.tags[0][1]
    assert attributes["srcdoc"] == render(given)
    assert attributes["sandbox"] == "allow-scripts"
    assert in_notebook(given) == given._repr_html_()


@pytest.mark.parametrize("method", METHODS.values(), ids=METHODS)
def test_packed_numbers_are_the_maps_to_16_bits(method: object) -> None:
    assert isinstance(method, type(METHODS["gradient"]))
    map = torch.randn(3, 5, 7, dtype=torch.float64)
    packed = embedding.packed(method, map, score=-0.3)
    numbers = np.frombuffer(base64.b64decode(packed["numbers"]), "<i2").reshape(5, 7)
    assert (packed["height"], packed["width"]) == (5, 7)
    values = method.values(map)
    assert np.abs(numbers * packed["step"] - values.numpy()).max() <= packed["step"] / 2 + 1e-12
    assert packed["step"] == pytest.approx(float(values.abs().max()) / 32767)
    assert packed["mean"] == pytest.approx(float(method.heat(map, -0.3).mean()))


def test_a_map_of_zeros_can_be_packed() -> None:
    packed = embedding.packed(METHODS["occlusion"], torch.zeros(3, 4, 4), score=0.3)
    assert packed["mean"] == packed["step"] == 1.0


def test_a_large_map_is_the_mean_of_its_parts_and_the_page_says_so() -> None:
    map = torch.rand(1, 448, 448)
    packed = embedding.packed(METHODS["gradient"], map, score=0.3)
    assert packed["width"] == packed["height"] == 224
    numbers = np.frombuffer(base64.b64decode(packed["numbers"]), "<i2").reshape(224, 224)
    expected = map[0].reshape(224, 2, 224, 2).mean((1, 3)).numpy()
    assert np.abs(numbers * packed["step"] - expected).max() < 1e-4
    assert "shown smaller here" in render(explanation(test_image=torch.rand(3, 448, 448)))
    assert "shown smaller here" not in render(explanation())


def test_a_small_picture_keeps_every_pixel() -> None:
    image = torch.randint(0, 256, (3, 9, 6)) / 255
    address = embedding.picture(image)
    assert address.startswith("data:image/png;base64,")
    with Image.open(io.BytesIO(base64.b64decode(address.split(",")[1]))) as shown:
        pixels = torch.as_tensor(np.asarray(shown).copy()).permute(2, 0, 1)
    assert torch.equal(pixels, (image * 255).round().byte())


@pytest.mark.parametrize("channels", [1, 2, 4])
def test_other_numbers_of_channels_are_shown_in_grey(channels: int) -> None:
    image = torch.rand(channels, 4, 4)
    address = embedding.picture(image)
    with Image.open(io.BytesIO(base64.b64decode(address.split(",")[1]))) as shown:
        pixels = np.asarray(shown)
    expected = (image.mean(0) * 255).round().byte().numpy()
    assert (pixels == expected[..., None]).all()


def test_a_large_picture_is_made_smaller() -> None:
    address = embedding.picture(torch.rand(3, 900, 450))
    with Image.open(io.BytesIO(base64.b64decode(address.split(",")[1]))) as shown:
        assert shown.size == (224, 448)
