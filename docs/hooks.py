"""What the site adds to the pages: formulas as MathML, citations as links. All at build time.

A formula between dollar signs, or one of a docstring, becomes MathML, which browsers set by
themselves: no script and no font has to be loaded. A citation key, in a page or in a docstring,
becomes a link with authors and year to its row of the references.
"""

from __future__ import annotations

import html
import re
from pathlib import Path
from typing import Any

from formulas import latex
from latex2mathml.converter import convert
from mkdocs.exceptions import PluginError
from mkdocs.utils import get_relative_url

_REFERENCES = "references.md"
_ROW = re.compile(
    r"^\| (?P<key>[a-z]+\d{4}[a-z]+) \| (?:\[(?P<linked>[^\]]+)\]\(|(?P<plain>[^|\[]+?) \|)"
)
_FORMULA = re.compile(
    r'<(?P<tag>span|div) class="arithmatex">\\(?P<kind>[(\[])(?P<latex>.*?)\\[)\]]</(?P=tag)>', re.S
)
_CODE = re.compile(r"<(pre|h[1-6]|a)\b.*?</\1>|<code>(?P<code>[^<]*)</code>", re.S)
_TAG = re.compile(r"(<[^>]+>)")
_KEY = re.compile(r"(?<![\w#/.-])\[?([a-z]+\d{4}[a-z]+)\]?(?![\w/-])")
_NOT_WITHIN = {"a", "code", "pre", "script", "style", "h1", "h2", "h3", "h4", "math"}


def authors_and_year(references: str) -> dict[str, str]:
    """What the page of references calls each key."""
    rows = (_ROW.match(line) for line in references.splitlines())
    return {row["key"]: (row["linked"] or row["plain"]).strip() for row in rows if row}


def with_formulas(content: str) -> str:
    """The page's HTML with its formulas as MathML.

    Raises:
        PluginError: A formula cannot be read.
    """

    def set_one(found: re.Match[str]) -> str:
        latex = html.unescape(found["latex"]).strip()
        try:
            return convert(latex, display="block" if found["kind"] == "[" else "inline")
        except Exception as error:  # the converter raises what its parts raise
            raise PluginError(f"the formula ${latex}$ cannot be read: {error}") from error

    return _FORMULA.sub(set_one, content)


def with_formulas_of_code(content: str) -> str:
    """The page's HTML with those pieces of code as MathML that are formulas.

    Blocks of code, titles and links stay as they are.
    """

    def set_one(found: re.Match[str]) -> str:
        formula = None if found["code"] is None else latex(html.unescape(found["code"]))
        return found[0] if formula is None else convert(formula)

    return _CODE.sub(set_one, content)


def with_citations(content: str, names: dict[str, str], references: str) -> str:
    """The page's HTML with citation keys as links, but not within code, titles and links.

    Args:
        content: The HTML.
        names: Authors and year by key.
        references: The address of the page of references, seen from this page.
    """

    def link(found: re.Match[str]) -> str:
        key = found[1]
        if key not in names:
            return found[0]
        return f'<a href="{references}#{key}">{html.escape(names[key])}</a>'

    depth = 0
    parts = _TAG.split(content)
    for place, part in enumerate(parts):
        tag = re.match(r"</?([a-z0-9]+)", part)
        if tag:
            if tag[1] in _NOT_WITHIN and not part.endswith("/>"):
                depth += -1 if part.startswith("</") else 1
        elif depth == 0:
            parts[place] = _KEY.sub(link, part)
    return "".join(parts)


def on_page_content(content: str, page: Any, config: Any, files: Any) -> str:
    """Called by mkdocs for the HTML of each page."""
    content = with_formulas_of_code(with_formulas(content))
    source = Path(config["docs_dir"]) / _REFERENCES
    names = authors_and_year(source.read_text(encoding="utf-8"))
    if page.file.src_uri == _REFERENCES:  # each row can be linked to
        return re.sub(r"<td>([a-z]+\d{4}[a-z]+)</td>", r'<td id="\1"><code>\1</code></td>', content)
    target = files.get_file_from_path(_REFERENCES)
    return with_citations(content, names, get_relative_url(target.url, page.url))
