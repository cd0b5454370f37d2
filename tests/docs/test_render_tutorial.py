"""The pages of the tutorials hold the tutorials as they are, with what each cell gave."""

from __future__ import annotations

import importlib.util
import re
import sys
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).parents[2]
NOT_RUN = {"voc_dependence"}  # Pascal VOC was not at hand when the pages were made
TUTORIALS = sorted({file.stem for file in (ROOT / "tutorials").glob("*.py")} - NOT_RUN)


def _renderer() -> ModuleType:
    spec = importlib.util.spec_from_file_location(
        "render_tutorial", ROOT / "docs" / "render_tutorial.py"
    )
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


renderer = _renderer()

NOTEBOOK = """# %% [markdown]
# # A title
#
# Some words.

# %%
value = 2

# %%
print("the value is", value)
if len(__import__("sys").argv) > 1:
    raise ValueError(value)
"""


def test_cells_are_shown_with_what_they_printed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "short.py").write_text(NOTEBOOK)
    monkeypatch.setattr(renderer, "TUTORIALS", tmp_path)
    monkeypatch.setattr(sys, "argv", [])
    monkeypatch.setattr(sys, "path", list(sys.path))
    assert renderer.rendered("short", []) == (
        "# A title\n\nSome words.\n\n```python\nvalue = 2\n```\n\n"
        '```python\nprint("the value is", value)\nif len(__import__("sys").argv) > 1:\n'
        "    raise ValueError(value)\n```\n\n```text\nthe value is 2\n```\n"
    )
    with pytest.raises(ValueError, match="2") as raised:
        renderer.rendered("short", ["more"])
    assert raised.traceback[-1].lineno == NOTEBOOK.splitlines().index("    raise ValueError(value)")


@pytest.mark.parametrize("name", TUTORIALS)
def test_the_page_holds_the_tutorial_as_it_is(name: str) -> None:
    source = (ROOT / "tutorials" / f"{name}.py").read_text(encoding="utf-8")
    page = (ROOT / "docs" / "tutorials" / f"{name}.md").read_text(encoding="utf-8")
    place = 0
    for cell in renderer.cells(source):
        text = renderer.shown(cell)
        found = page.find(text, place)
        assert found >= 0, (
            f"docs/tutorials/{name}.md lacks the cell at line {cell.line + 1}; render it again"
        )
        place = found + len(text)
    for picture in re.findall(r"\]\(([^):]+\.(?:png|gif))\)", page):
        assert (ROOT / "docs" / "tutorials" / picture).is_file(), picture
