"""What a page must be for everyone who uses it: names, order, contrast.

Written out by ourselves: the rules of WCAG 2.1 AA that a machine can check on one page of ours.
"""

from __future__ import annotations

import json

from tests.browser.chromium import Chromium

NEED_A_NAME = {
    "button",
    "checkbox",
    "combobox",
    "dialog",
    "form",
    "image",
    "img",
    "link",
    "listbox",
    "radio",
    "region",
    "group",
    "slider",
    "table",
}

_STRUCTURE = """(() => {
  const wrong = [];
  const ids = [...document.querySelectorAll("[id]")].map((element) => element.id);
  for (const id of ids) if (ids.indexOf(id) !== ids.lastIndexOf(id)) wrong.push(`twice: ${id}`);
  for (const attribute of ["for", "aria-labelledby", "aria-describedby"])
    for (const element of document.querySelectorAll(`[${attribute}]`))
      for (const id of element.getAttribute(attribute).split(" "))
        if (!document.getElementById(id)) wrong.push(`${attribute} names nothing: ${id}`);
  for (const image of document.querySelectorAll("img")) if (!image.alt) wrong.push("no alt");
  if (!document.documentElement.lang) wrong.push("no language");
  if (document.querySelectorAll("main").length !== 1) wrong.push("not one main");
  if (document.querySelectorAll("h1").length !== 1) wrong.push("not one h1");
  let last = 0;
  for (const heading of document.querySelectorAll("main h1, main h2, main h3, main h4")) {
    const level = Number(heading.tagName[1]);
    if (last && level > last + 1) wrong.push(`heading jumps: ${heading.textContent}`);
    last = level;
  }
  for (const element of document.querySelectorAll("[tabindex]"))
    if (element.tabIndex > 0) wrong.push(`order by hand: ${element.outerHTML.slice(0, 80)}`);
  return wrong;
})()"""

_CONTRAST = """(() => {
  const parse = (text) => {
    const numbers = (text.match(/[\\d.]+/g) || []).map(Number);
    return numbers.length < 3 ? [0, 0, 0, 0] : [...numbers, 1].slice(0, 4);
  };
  const over = (top, under) => [0, 1, 2].map((i) => top[i] * top[3] + under[i] * (1 - top[3]));
  const behind = (element) => {
    if (!element) return [255, 255, 255];
    const own = parse(getComputedStyle(element).backgroundColor);
    return own[3] === 1 ? own.slice(0, 3) : over(own, behind(element.parentElement));
  };
  const light = (colour) => {
    const linear = (c) => c <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4;
    const [r, g, b] = colour.map((c) => linear(c / 255));
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const wrong = [];
  let looked = 0;
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (walker.nextNode()) {
    const element = walker.currentNode.parentElement;
    if (!walker.currentNode.textContent.trim() || !element.getClientRects().length) continue;
    if (["SCRIPT", "STYLE", "NOSCRIPT", "OPTION"].includes(element.tagName)) continue;
    if (element.closest(":disabled, fieldset:disabled")) continue;
    const style = getComputedStyle(element);
    const under = behind(element);
    const ink = over(parse(element.closest("svg") ? style.fill : style.color), under);
    const [high, low] = [light(ink), light(under)].sort((a, b) => b - a);
    const ratio = (high + 0.05) / (low + 0.05);
    const size = parseFloat(style.fontSize);
    const large = size >= 24 || (size >= 18.66 && Number(style.fontWeight) >= 700);
    looked++;
    const text = walker.currentNode.textContent.trim().slice(0, 40);
    if (ratio < (large ? 3 : 4.5)) wrong.push(`${ratio.toFixed(2)}: ${element.tagName} ${text}`);
  }
  return { looked, wrong };
})()"""


def structure(browser: Chromium) -> list[str]:
    """What is wrong with identities, alternative texts, headings and the order of focus."""
    found: list[str] = browser.run(_STRUCTURE)
    return found


def without_a_name(browser: Chromium) -> list[str]:
    """Parts that a screen reader could not name, from the browser's own accessibility tree."""
    nodes = browser.call("Accessibility.getFullAXTree")["nodes"]
    return [
        f"{node['role']['value']} {node['nodeId']}"
        for node in nodes
        if not node.get("ignored")
        and node.get("role", {}).get("value") in NEED_A_NAME
        and not node.get("name", {}).get("value", "").strip()
    ]


def too_faint(browser: Chromium) -> list[str]:
    """Texts whose contrast with what is behind them is too small.

    Raises:
        AssertionError: There is hardly any text.
    """
    found = browser.run(_CONTRAST)
    assert found["looked"] > 20, "the check sees the page's texts"
    wrong: list[str] = found["wrong"]
    return wrong


def named_otherwise_than_seen(browser: Chromium) -> list[str]:
    """Links and buttons whose name does not hold the text that is seen on them."""
    found: list[str] = browser.run(
        """[...document.querySelectorAll("a[aria-label], button[aria-label]")]
        .map(e => [e.getAttribute("aria-label"), e.textContent.replace(/\\s+/g, " ").trim()])
        .filter(([name, seen]) => !name.toLowerCase().includes(seen.toLowerCase()))
        .map(([name, seen]) => `${name}: ${seen}`)"""
    )
    return found


def choose(page: Chromium, name: str, value: str) -> None:
    """Sets a control of the page as its user does: the value, then the events."""
    page.run(
        f"""(() => {{ const it = document.querySelector({json.dumps(name)});
        if (it.type === "radio") it.checked = true; else it.value = {json.dumps(value)};
        it.dispatchEvent(new Event("input", {{ bubbles: true }}));
        it.dispatchEvent(new Event("change", {{ bubbles: true }})); }})()"""
    )


def a_strange_script_ran(page: Chromium) -> bool:
    """Whether a script that is put into the page runs; a page of ours complains instead."""
    page.run(
        """(() => { const script = document.createElement("script");
        script.textContent = "window.ran = true"; document.body.append(script);
        document.body.insertAdjacentHTML("beforeend", "<img src=x onerror='window.ran = true'>");
        })()"""
    )
    page.run("new Promise(done => setTimeout(done, 100))")
    refused = any("Content Security Policy" in complaint for complaint in page.complaints())
    return not refused or page.run("window.ran") is not None


def said_by_copying(page: Chromium, key: str) -> str:
    """What a button to copy says once it is pressed."""
    button = f"document.querySelector('[data-copy=\"{key}\"]')"
    page.run(f"{button}.click()")
    said: str = page.run(
        f"""new Promise(done => {{ const look = () => {button}.textContent === "Copy"
        ? setTimeout(look, 10) : done({button}.textContent); look(); }})"""
    )
    return said


def places_of_focus(page: Chromium, count: int) -> list[int]:
    """Where in the document the focus goes, one key of the tabulator after the other."""
    tops = []
    for _ in range(count):
        page.key("Tab", 9)
        tops.append(page.run("[...document.querySelectorAll('*')].indexOf(document.activeElement)"))
    return tops
