"""Imports run downwards only: a folder knows nothing of those above it."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

import captum_tfa

ROOT = Path(captum_tfa.__file__).parent
FROM_BELOW = (
    "trajectory",
    "gradients",
    "curvature",
    "scores",
    "attr",
    "index",
    "influence",
    "metrics",
    "report",
    "auditing",
    "cli",
)


def _imported(file: Path) -> set[str]:
    """The folders of this package that a file imports from."""
    found = set()
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        names = [node.module or ""] if isinstance(node, ast.ImportFrom) else []
        names += [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
        found |= {name.split(".")[1] for name in names if name.startswith("captum_tfa.")}
    return found


@pytest.mark.parametrize("folder", FROM_BELOW)
def test_a_folder_imports_from_itself_and_from_below(folder: str) -> None:
    above = set(FROM_BELOW[FROM_BELOW.index(folder) + 1 :])
    files = list((ROOT / folder).rglob("*.py"))
    assert files
    for file in files:
        assert not _imported(file) & above, file


def test_the_demo_stands_beside_and_knows_none_of_them() -> None:
    for file in (ROOT / "demo").rglob("*.py"):
        assert not _imported(file) & set(FROM_BELOW), file
