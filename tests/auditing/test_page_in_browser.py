"""The audit's report as a reader meets it: in a browser, from a file, with the network off."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from captum_tfa.auditing.page import in_notebook, render
from captum_tfa.auditing.result import Audit
from tests.auditing.small import small_audit
from tests.auditing.small_regions import regions_of
from tests.browser import chromium, page_checks
from tests.browser.chromium import Chromium
from tests.browser.page_checks import choose

EVIL = "<script>document.title='run'</script>"

pytestmark = pytest.mark.skipif(chromium.find() is None, reason=chromium.ABSENT)


@pytest.fixture(scope="module")
def given() -> Audit:
    made = small_audit(class_names=["ant", EVIL, "cat"], max_mistakes=8)
    evidence, regions = regions_of(8, [3, 4, 5], [-0.4, -0.5, -0.6], [[6.0, 6.0]] * 3, (5, 5, 3, 3))
    ordinary = regions_of(8, [3, 4, 5], [-0.4] * 3, [[6.0, 6.0]] * 3, (5, 5, 3, 3), False)[1]
    both = replace(regions, clusters=(*regions.clusters, *ordinary.clusters))
    return replace(
        made,
        evidence=evidence,
        regions=both,
        train_files=dict.fromkeys(range(24), f"/data/{EVIL}/1.jpg"),
    )


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Chromium]:
    program = chromium.find()
    assert program is not None
    running = Chromium(program, tmp_path_factory.mktemp("profile"))
    yield running
    running.close()


@pytest.fixture(scope="module")
def file(given: Audit, tmp_path_factory: pytest.TempPathFactory) -> Path:
    written = tmp_path_factory.mktemp("report") / "report.html"
    written.write_text(render(given), encoding="utf-8")
    return written


@pytest.fixture
def page(browser: Chromium, file: Path) -> Chromium:
    browser.see(1300, 900)
    browser.open(file)
    return browser


def test_it_opens_from_a_file_and_asks_for_nothing_else(page: Chromium, file: Path) -> None:
    page.run("new Promise(done => setTimeout(done, 100))")
    assert page.complaints() == []
    elsewhere = [url for url in page.requested() if not url.startswith("data:")]
    assert elsewhere == [file.resolve().as_uri()]
    broken = "[...document.images].filter(i => !i.complete || !i.naturalWidth).length"
    assert page.run(broken) == 0


def test_what_a_user_gives_is_shown_and_not_run(page: Chromium) -> None:
    assert page.run("document.title").startswith("Which parts of the training data")
    labels = page.run('[...document.querySelectorAll(".label")].map(l => l.textContent)')
    assert any(EVIL in label for label in labels)
    assert f"/data/{EVIL}/1.jpg" in page.run('document.querySelector(".file").textContent')


def test_no_script_but_the_pages_own_can_run(page: Chromium) -> None:
    assert not page_checks.a_strange_script_ran(page)


def test_maps_fade_and_outlines_go(page: Chromium) -> None:
    opacities = '[...document.querySelectorAll(".heat")].map(h => getComputedStyle(h).opacity)'
    assert set(page.run(opacities)) == {"0.85"}
    choose(page, "#opacity", "30")
    assert set(page.run(opacities)) == {"0.3"}
    visible = '[...document.querySelectorAll("main > section .box")].some(b => b.checkVisibility())'
    assert page.run(visible) is True
    page.run('document.getElementById("boxes").click()')
    assert page.run(visible) is False
    width = 'document.querySelector(".gallery .stack").getBoundingClientRect().width'
    choose(page, "#size", "200")
    assert page.run(width) == pytest.approx(200)


def test_mistakes_are_filtered_by_kind(page: Chromium, given: Audit) -> None:
    shown = '[...document.querySelectorAll(".mistake")].filter(m => m.checkVisibility()).length'
    assert page.run(shown) == len(given.mistakes)
    names = given.class_names
    kind = (given.mistakes[0].label, given.mistakes[0].predicted)
    count = sum((each.label, each.predicted) == kind for each in given.mistakes)
    choose(page, "#kind", f"{names[kind[0]]} called {names[kind[1]]}")
    assert page.run(shown) == count
    status = 'document.getElementById("status").textContent'
    assert page.run(status) == f"{count} of {len(given.mistakes)} mistakes shown"
    choose(page, "#kind", "")
    assert page.run(shown) == len(given.mistakes)


def test_ordinary_clusters_are_folded_away(page: Chromium) -> None:
    body = 'document.querySelector("details .cluster").checkVisibility()'
    assert page.run(body) is False
    page.run('document.querySelector("summary").click()')
    assert page.run('document.querySelector("details").open') is True
    assert page.run(body) is True


def test_copying_says_what_it_did(page: Chromium) -> None:
    assert page_checks.said_by_copying(page, "c1-1") in ("Copied", "Selected")


@pytest.mark.parametrize("dark", [False, True])
def test_contrast(browser: Chromium, file: Path, dark: bool) -> None:
    browser.see(1300, 900, dark=dark)
    browser.open(file)
    assert page_checks.too_faint(browser) == []
    paper = browser.run("getComputedStyle(document.body).backgroundColor")
    assert (paper == "rgb(255, 255, 255)") is not dark


def test_names_identities_headings(page: Chromium) -> None:
    page.run('document.querySelector("details").open = true')
    assert page_checks.structure(page) == []
    assert page_checks.named_otherwise_than_seen(page) == []
    assert page_checks.without_a_name(page) == []


def test_focus_goes_down_the_page(page: Chromium) -> None:
    page.key("Tab", 9)
    assert page.run("document.activeElement.textContent") == "Skip to the regions"
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
    assert browser.run('document.querySelector(".heat").checkVisibility()') is True
    assert browser.run("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"


def test_a_notebook_shows_it_in_a_frame(browser: Chromium, given: Audit, tmp_path: Path) -> None:
    notebook = tmp_path / "notebook.html"
    notebook.write_text(f"<!DOCTYPE html><title>n</title>{in_notebook(given)}", encoding="utf-8")
    browser.see(1300, 1000)
    browser.open(notebook)
    browser.run("new Promise(done => setTimeout(done, 300))")
    assert browser.complaints() == []
    status = browser.run_in_frame('document.getElementById("status").textContent')
    assert status == f"{len(given.mistakes)} of {len(given.mistakes)} mistakes shown"
