"""What the documentation site adds to the pages: formulas, and citations as links."""

from __future__ import annotations

import importlib.util
import re
import sys
from pathlib import Path
from types import ModuleType

import pytest

for package in ("mkdocs", "latex2mathml"):
    pytest.importorskip(package, reason=f"{package}, of the extra docs, is not installed")

DOCS = Path(__file__).parents[1] / "docs"


def _hooks() -> ModuleType:
    spec = importlib.util.spec_from_file_location("docs_hooks", DOCS / "hooks.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.path.insert(0, str(DOCS))  # as mkdocs does
    try:
        spec.loader.exec_module(module)
    finally:
        sys.path.remove(str(DOCS))
    return module


hooks = _hooks()
NAMES = hooks.authors_and_year((DOCS / "references.md").read_text(encoding="utf-8"))


def test_every_entry_of_the_bibliography_has_authors_and_year() -> None:
    keys = re.findall(r"^@\w+\{(\w+),", (DOCS / "references.bib").read_text(), re.M)
    assert keys
    assert set(keys) == set(NAMES)
    assert NAMES["barshan2020relatif"] == "Barshan et al. 2020"
    assert NAMES["wang2004image"] == "Wang et al. 2004"
    assert all(re.fullmatch(r"[^\[\]|]+ \d{4}", name) for name in NAMES.values())


def test_a_key_becomes_a_link_but_not_in_code_titles_and_links() -> None:
    def cited(content: str) -> str:
        return str(hooks.with_citations(content, {"wang2004image": "Wang 2004"}, "../r/"))

    link = '<a href="../r/#wang2004image">Wang 2004</a>'
    assert cited("<p>As (wang2004image) says.</p>") == f"<p>As ({link}) says.</p>"
    assert cited("<p>Similarity [wang2004image].</p>") == f"<p>Similarity {link}.</p>"
    for same in (
        "<code>wang2004image</code>",
        "<pre><span>wang2004image</span></pre>",
        "<h2>wang2004image</h2>",
        '<a href="#">wang2004image</a>',
        '<img alt="wang2004image">',
        "<p>other2004image x-wang2004image</p>",
    ):
        assert cited(same) == same
    assert cited("<code>a</code> wang2004image") == f"<code>a</code> {link}"


def test_a_formula_becomes_mathml() -> None:
    page = hooks.with_formulas(r'<p>a <span class="arithmatex">\(x_\text{a} &lt; 1\)</span></p>')
    assert page.startswith("<p>a <math ")
    assert "<msub>" in page
    assert "arithmatex" not in page
    block = hooks.with_formulas('<div class="arithmatex">\\[\nx\n\\]</div>')
    assert 'display="block"' in block


def test_all_formulas_of_the_pages_can_be_read() -> None:
    found = 0
    for page in DOCS.rglob("*.md"):
        text = re.sub(r"```.*?```|`[^`\n]*`", "", page.read_text(encoding="utf-8"), flags=re.S)
        for latex in re.findall(r"\$([^$\n]+)\$", text):
            assert hooks.convert(latex).startswith("<math ")
            found += 1
    assert found > 20


@pytest.mark.parametrize(
    ("code", "expected"),
    [
        ("θ", r"\theta"),
        ("g_test", None),  # nothing says that it is no name of the code's
        ("⟨g_train, H⁻¹ g_test⟩", r"\langle g_{\text{train}},H^{-1}\,g_{\text{test}}\rangle"),
        ("(1/n) Σ_i S_i", r"(1/n)\,\sum _{i}\,S_{i}"),
        ("A_{t+1} x² ± √pairs", r"A_{t+1}\,x^{2}\pm \sqrt{\text{pairs}}"),
        ("∫₀¹ ∂S/∂x dt", r"\int _{0}^{1}\,\partial S/\partial x\,dt"),
        ("f*(x) = φ'_i", r"f^{*}(x)=\varphi '_{i}"),
        ("training set\n× groups", r"\text{training set}\times \text{groups}"),
        ("hessian_reg = n λ", None),
        ('TracInScore(model, [state], [η/n], measure_fn="logit")', None),
    ],
)
def test_a_formula_of_a_docstring_is_told_from_code(code: str, expected: str | None) -> None:
    assert hooks.latex(code) == expected


def test_formulas_of_code_are_set_but_not_in_blocks_titles_and_links() -> None:
    page = hooks.with_formulas_of_code("<p>a <code>‖g‖²</code> and <code>name</code></p>")
    assert '<math xmlns="http://www.w3.org/1998/Math/MathML" display="inline">' in page
    assert "<code>name</code>" in page
    assert "‖g‖²" not in page
    for tag in ("pre", "h2", "a"):
        same = f"<{tag}><code>‖g‖²</code></{tag}>"
        assert hooks.with_formulas_of_code(same) == same
