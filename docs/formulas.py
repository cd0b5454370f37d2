"""Formulas of docstrings as LaTeX, for the site alone.

A docstring is read in a terminal as well, so its formulas are plain characters: ``⟨g_train, H⁻¹
g_test⟩``. The site sets them as it sets those of the pages.
"""

from __future__ import annotations

import re

# Without one of these a piece of code is no formula.
_EVIDENCE = re.compile(r"[⟨⟩‖Σ∫√∂∇⁻ᵀ·≤≥−×²₂Δα-ωΓΘΛΞΠΦΨΩ]")
_SIGNS = {
    "⟨": r"\langle ", "⟩": r"\rangle ", "‖": r"\|", "|": "|", "Σ": r"\sum ", "∫": r"\int ",
    "∂": r"\partial ", "∇": r"\nabla ", "⁻¹": "^{-1}", "ᵀ": r"^{\top}", "²": "^{2}", "₂": "_{2}",
    "₀¹": "_{0}^{1}", "·": r"\cdot ", "−": "-", "×": r"\times ", "≤": r"\le ", "≥": r"\ge ",
    "±": r"\pm ", "…": r"\dots ", "~": r"\sim ", "α": r"\alpha ", "γ": r"\gamma ", "δ": r"\delta ",
    "ε": r"\varepsilon ", "η": r"\eta ", "θ": r"\theta ", "λ": r"\lambda ", "ρ": r"\rho ",
    "σ": r"\sigma ", "τ": r"\tau ", "φ": r"\varphi ", "Δ": r"\Delta ", "Θ": r"\Theta ",
    "Φ": r"\Phi ",
}  # fmt: skip
_FUNCTIONS = {"log", "max", "min", "tr", "sign", "mean", "sum", "round", "sqrt"}
_TOKEN = re.compile(
    r"(?P<below>_(?:\{[^}]*\}|[A-Za-zα-ω0-9]+))"
    r"|(?P<above>\^(?:\{[^}]*\}|\w))"
    r"|(?P<product>(?:[A-Z][a-z]|d[a-z])(?![A-Za-z]))"  # two letters, or a differential
    r"|(?P<words>[A-Za-z]{2,}(?: (?:a )?[A-Za-z]{2,})*)"
    r"|(?P<star>(?<=\w)\*(?=\())"
    r"|(?P<same>[A-Za-z]|\d+(?:\.\d+)?|[-+/=(),;:'])"
    r"|(?P<space> )"
    r"|√(?P<root>\([^()]*\)|\w+)"
    r"|(?P<sign>⁻¹|₀¹|.)"
)


def latex(code: str) -> str | None:
    """The formula in LaTeX; None if it is code, or holds what is not known here.

    Args:
        code: As the docstring has it between its backticks.
    """
    code = " ".join(code.split())
    names = re.sub(r"\b(?:sum|mean)_", "", code)  # these two may have a word below them
    if not _EVIDENCE.search(code) or re.search(r"[A-Za-z]{2,}_[A-Za-z]{2}", names):
        return None
    return _converted(code)


def _converted(code: str) -> str | None:
    # Around operators MathML has spaces of its own.
    close = re.sub(r" ?([-=+−·/×≤≥±~…,;]) ?", r"\1", code)
    parts = [_set(found) for found in _TOKEN.finditer(close)]
    return None if None in parts else "".join(part for part in parts if part).strip()


def _set(found: re.Match[str]) -> str | None:
    """One sign, letter or word in LaTeX; None if it is not known."""
    kind, text = found.lastgroup, found[0]
    if kind == "below":
        return f"_{{{_small(text[1:])}}}"
    if kind == "above":
        return f"^{{{_small(text[1:])}}}"
    if kind == "words":
        return rf"\operatorname{{{text}}}" if text in _FUNCTIONS else rf"\text{{{text}}}"
    if kind == "star":
        return "^{*}"
    if kind == "space":
        return r"\,"
    if kind == "root":
        inside = _converted(found["root"].strip("()"))
        return None if inside is None else rf"\sqrt{{{inside}}}"
    return _SIGNS.get(text) if kind == "sign" else text


def _small(text: str) -> str:
    """What stands above or below: words upright, indices in italics."""
    inside = text.strip("{}")
    if re.fullmatch(r"[A-Za-z]{3,}", inside):
        return rf"\text{{{inside}}}"
    return "".join(_SIGNS.get(character, character) for character in inside)
