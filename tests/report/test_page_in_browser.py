"""The report as a reader meets it: in a browser, from a file, with the network off."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from captum_tfa.report import Explanation, TrainingExample
from captum_tfa.report.explanation import Answer
from captum_tfa.report.heat import common_top, heats
from captum_tfa.report.methods import METHODS
from captum_tfa.report.page import in_notebook, render
from tests.browser import chromium, page_checks
from tests.browser.chromium import Chromium
from tests.browser.page_checks import choose
from tests.report.tiny import explanation, training_example

EVIL = "<script>document.title='run'</script>"
LABELS = ("bee", "ant", EVIL)

pytestmark = pytest.mark.skipif(chromium.find() is None, reason=chromium.ABSENT)


def example(index: int, score: float) -> TrainingExample:
    generator = torch.Generator().manual_seed(100 + index)
    maps = torch.randn(2, 3, 8, 8, generator=generator)
    return replace(
        training_example(index, score),
        label_name=LABELS[index % 3],
        file=f"/data/{EVIL}/{index}.jpg",
        more_maps={"gradient": (maps[0], maps[1])},
    )


def given() -> Explanation:
    return explanation(
        method=METHODS["occlusion"],
        more_methods=(METHODS["gradient"],),
        proponents=tuple(example(index, 0.5 - index / 10) for index in range(3)),
        opponents=tuple(example(index, index / 10 - 0.9) for index in range(3, 7)),
        answers=(Answer(1, "bee", 0.875), Answer(0, "ant", 0.1), Answer(2, EVIL, 0.025)),
        test_file=f"{EVIL}.png",
        made="2026-01-02T03:04:05+00:00",
        seconds=1.5,
        command="captum-tfa explain --image 'odd one.png'",
    )


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Chromium]:
    program = chromium.find()
    assert program is not None
    running = Chromium(program, tmp_path_factory.mktemp("profile"))
    yield running
    running.close()


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    written = tmp_path_factory.mktemp("report") / "report.html"
    written.write_text(render(given()), encoding="utf-8")
    return written


@pytest.fixture
def page(browser: Chromium, file: Path) -> Chromium:
    browser.see(1300, 900)
    browser.open(file)
    return browser


def shown(page: Chromium) -> list[str]:
    found: list[str] = page.run(
        '[...document.querySelectorAll(".card")].filter(c => c.checkVisibility()).map(c => c.id)'
    )
    return found


def coloured(page: Chromium, pane: str) -> list[bool]:
    """Which places of a map have a colour."""
    found: list[bool] = page.run(
        f"""(() => {{ const canvas = document.querySelector("#{pane} canvas");
        const image = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height);
        return Array.from({{ length: canvas.width * canvas.height }},
          (_, place) => image.data[4 * place + 3] > 0); }})()"""
    )
    return found


def visible_heat(heat: torch.Tensor, top: float) -> list[bool]:
    """Which places of a heat map are more than transparent, by the scale of the figure."""
    from captum_tfa.report.heat import HEAT_COLOURS

    alpha = HEAT_COLOURS((heat / top).clamp(0, 1).numpy(), bytes=True)[..., 3]
    return [bool(a > 0) for a in alpha.flatten()]


def point(page: Chromium, pane: str, x: int, y: int) -> None:
    """Moves the pointer to a place of a map of 8 x 8 places."""
    page.run(f'document.getElementById("{pane}").scrollIntoView({{ block: "center" }})')
    box = page.run(f'document.getElementById("{pane}").getBoundingClientRect().toJSON()')
    at = {
        "x": box["x"] + (x + 0.5) * box["width"] / 8,
        "y": box["y"] + (y + 0.5) * box["height"] / 8,
    }
    page.call("Input.dispatchMouseEvent", type="mouseMoved", **at)


def reading(page: Chromium, pane: str) -> str:
    found: str = page.run(
        f'document.getElementById("{pane}").closest("figure").querySelector("output").textContent'
    )
    return found.strip()


def test_it_opens_from_a_file_and_asks_for_nothing_else(page: Chromium, file: Path) -> None:
    page.run("new Promise(done => setTimeout(done, 100))")
    assert page.complaints() == []
    elsewhere = [url for url in page.requested() if not url.startswith("data:")]
    assert elsewhere == [file.resolve().as_uri()]


def test_what_a_user_gives_is_shown_and_not_run(page: Chromium) -> None:
    assert page.run("document.title") == "Why does the model say “bee”, not “ant”?"
    assert page.run('document.querySelector("#p2 .label").textContent') == EVIL
    assert page.run('document.getElementById("p2-file").textContent') == f"/data/{EVIL}/2.jpg"
    assert page.run('document.getElementById("test-file").textContent') == f"{EVIL}.png"
    assert EVIL in page.run('[...document.querySelectorAll("#label option")].map(o => o.value)')


def test_no_script_but_the_pages_own_can_run(page: Chromium) -> None:
    assert not page_checks.a_strange_script_ran(page)


def test_opacity_of_all_and_of_one(page: Chromium) -> None:
    opacities = '[...document.querySelectorAll(".card canvas")].map(c => Number(c.style.opacity))'
    assert set(page.run(opacities)) == {0.85}
    choose(page, "#opacity", "30")
    assert set(page.run(opacities)) == {0.3}
    choose(page, "#p1 .opacity", "0")
    assert page.run(opacities) == [0.3] * 2 + [0] * 2 + [0.3] * 10


def test_the_map_is_coloured_where_the_figure_is(page: Chromium) -> None:
    asked = given()
    examples = (*asked.proponents, *asked.opponents)
    for method in (asked.method, *asked.more_methods):
        choose(page, "#method", method.name)
        top = common_top([heat for e in examples for heat in heats(asked, e, method)])
        for key, shown_example in (("p1", asked.proponents[1]), ("o2", asked.opponents[2])):
            of_train, of_test = heats(asked, shown_example, method)
            assert coloured(page, f"{key}-train") == visible_heat(of_train, top)
            assert coloured(page, f"{key}-test") == visible_heat(of_test, top)


def test_signs(page: Chromium) -> None:
    signed = METHODS["occlusion"].values(given().opponents[0].map).flatten()
    towards = coloured(page, "o0-train")
    assert sum(towards) > 0
    assert all(value < 0 for value, seen in zip(signed.tolist(), towards, strict=True) if seen)
    choose(page, 'input[value="against"]', "against")
    against = coloured(page, "o0-train")
    assert sum(against) > 0
    assert all(value > 0 for value, seen in zip(signed.tolist(), against, strict=True) if seen)
    choose(page, 'input[value="both"]', "both")
    either = [a or b for a, b in zip(towards, against, strict=True)]
    assert coloured(page, "o0-train") == either
    choose(page, "#method", "gradient")
    assert page.run('document.getElementById("signs").disabled') is True
    assert "no sign" in page.run('document.getElementById("legend-text").textContent')


def test_a_place_tells_its_value_and_the_test_image_that_of_every_map(page: Chromium) -> None:
    asked = given()
    point(page, "p0-train", 5, 2)
    value = float(METHODS["occlusion"].values(asked.proponents[0].map)[2, 5])
    assert reading(page, "p0-train").startswith("x 5, y 2: ")
    told = reading(page, "p0-train").split(": ")[1].split(" ")[0].replace("−", "-")
    assert float(told) == pytest.approx(value, rel=5e-3, abs=1e-4)
    heat = float(heats(asked, asked.proponents[0])[0][2, 5])
    if value > 0:
        assert f"({heat:.2g} × mean, makes the score)" in reading(page, "p0-train")
    else:
        assert "pulls the other way" in reading(page, "p0-train")
    assert reading(page, "p1-train") == ""
    point(page, "o1-test", 3, 7)
    for key, of in (("p0", asked.proponents[0]), ("o1", asked.opponents[1])):
        value = float(METHODS["occlusion"].values(of.test_map)[7, 3])
        told = reading(page, f"{key}-test").split(": ")[1].split(" ")[0].replace("−", "-")
        assert float(told) == pytest.approx(value, rel=5e-3, abs=1e-4)
    marks = page.run('[...document.querySelectorAll(".mark")].filter(m => !m.hidden).length')
    assert marks == 1 + 7 + 1  # the test image, each card, and the closer look
    assert reading(page, "p0-train") == ""


def test_the_keyboard_reads_a_map(page: Chromium) -> None:
    page.run('document.getElementById("p0-train").focus()')
    page.key("ArrowRight", 39)
    page.key("ArrowUp", 38)
    assert reading(page, "p0-train").startswith("x 5, y 3: ")
    live = 'document.querySelector("#p0-train").closest("figure").querySelector("output").ariaLive'
    assert page.run(live) == "polite"


def test_filters_and_order(page: Chromium) -> None:
    assert shown(page) == ["p0", "p1", "p2", "o0", "o1", "o2", "o3"]
    choose(page, "#sort", "label")
    assert shown(page) == ["p2", "p1", "p0", "o2", "o1", "o0", "o3"]
    choose(page, "#sort", "index")
    choose(page, "#label", "bee")
    assert shown(page) == ["p0", "o0", "o3"]
    status = 'document.getElementById("status").textContent'
    assert page.run(status) == "3 of 7 training images shown"
    choose(page, "#side", "opponents")
    assert shown(page) == ["o0", "o3"]
    assert page.run(status) == "2 of 7 training images shown"
    choose(page, "#label", "")
    choose(page, "#side", "")
    assert len(shown(page)) == 7


def test_blinking_shows_picture_and_map_in_turn_until_it_is_switched_off(page: Chromium) -> None:
    page.run('document.querySelector("#p0 .blink").click()')
    seen = page.run(
        """new Promise(done => { const seen = new Set(); const start = Date.now();
        const look = () => { seen.add(document.querySelector("#p0 canvas").style.opacity);
          if (seen.size > 1 || Date.now() - start > 20000) done([...seen].sort());
          else setTimeout(look, 20); }; look(); })"""
    )
    assert seen == ["0", "0.85"]
    assert page.run('document.querySelector("#p1 canvas").style.opacity') == "0.85"
    page.run('document.querySelector("#p0 .blink").click()')
    assert page.run('document.querySelector("#p0 canvas").style.opacity') == "0.85"
    assert page.run('document.querySelector("#p0 .blink").ariaPressed') == "false"


def test_a_closer_look(page: Chromium) -> None:
    page.run('document.querySelector("#o1 .closer").focus()')
    page.run('document.querySelector("#o1 .closer").click()')
    assert page.run('document.getElementById("closer").open') is True
    assert page.run('document.getElementById("closer").contains(document.activeElement)') is True
    assert coloured(page, "closer-train") == coloured(page, "o1-train")
    width = 'document.getElementById("closer-train").getBoundingClientRect().width'
    before = page.run(width)
    choose(page, "#zoom", "4")
    assert page.run(width) == pytest.approx(4 * before, rel=0.05)
    assert page_checks.without_a_name(page) == []
    page.key("Escape", 27)
    assert page.run('document.getElementById("closer").open') is False
    assert page.run('document.activeElement === document.querySelector("#o1 .closer")') is True


def test_copying_says_what_it_did(page: Chromium) -> None:
    assert page_checks.said_by_copying(page, "o1-file") in ("Copied", "Selected")


@pytest.mark.parametrize("dark", [False, True])
def test_contrast(browser: Chromium, file: Path, dark: bool) -> None:
    browser.see(1300, 900, dark=dark)
    browser.open(file)
    assert page_checks.too_faint(browser) == []
    paper = browser.run("getComputedStyle(document.body).backgroundColor")
    assert (paper == "rgb(255, 255, 255)") is not dark


def test_names_identities_headings(page: Chromium) -> None:
    assert page_checks.structure(page) == []
    assert page_checks.named_otherwise_than_seen(page) == []
    assert page_checks.without_a_name(page) == []


def test_focus_goes_down_the_page(page: Chromium) -> None:
    page.key("Tab", 9)
    assert page.run("document.activeElement.textContent") == "Skip to the training images"
    tops = page_checks.places_of_focus(page, 12)
    assert tops == sorted(tops)
    assert len(set(tops)) == len(tops)


def test_a_narrow_screen_needs_no_scrolling_sideways(browser: Chromium, file: Path) -> None:
    browser.see(320, 640)
    browser.open(file)
    assert browser.run("document.documentElement.scrollWidth") <= 320


def test_print_has_the_pictures_and_no_controls(browser: Chromium, file: Path) -> None:
    browser.see(794, 1100, dark=True, print_out=True)
    browser.open(file)
    assert browser.run('document.getElementById("view").checkVisibility()') is False
    assert browser.run('document.querySelector("#p0 canvas").checkVisibility()') is True
    assert browser.run("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"


def test_a_notebook_shows_it_in_a_frame(browser: Chromium, tmp_path: Path) -> None:
    notebook = tmp_path / "notebook.html"
    notebook.write_text(f"<!DOCTYPE html><title>n</title>{in_notebook(given())}", encoding="utf-8")
    browser.see(1300, 1000)
    browser.open(notebook)
    browser.run("new Promise(done => setTimeout(done, 300))")
    assert browser.complaints() == []
    status = browser.run_in_frame('document.getElementById("status").textContent')
    assert status == "7 of 7 training images shown"  # what the script says last
