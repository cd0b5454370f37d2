from __future__ import annotations

from pathlib import Path

from common.remembering import remembered


def test_the_same_question_is_measured_once(tmp_path: Path) -> None:
    path, measured = tmp_path / "new" / "numbers.json", []

    def measure() -> dict:
        measured.append(1)
        return {"share": 0.1 + 0.2, "rows": ((1, 2), (3, 4)), 5: "−"}

    first = remembered(path, {"seed": 0, "sides": (1, 2)}, measure)
    second = remembered(path, {"seed": 0, "sides": (1, 2)}, measure)
    assert first == second == {"share": 0.1 + 0.2, "rows": [[1, 2], [3, 4]], "5": "−"}
    assert len(measured) == 1
    assert [file.name for file in path.parent.iterdir()] == ["numbers.json"]


def test_another_question_is_measured_anew(tmp_path: Path) -> None:
    path = tmp_path / "numbers.json"
    remembered(path, {"seed": 0}, lambda: {"found": 1})
    assert remembered(path, {"seed": 1}, lambda: {"found": 2}) == {"found": 2}
    assert remembered(path, {"seed": 1}, lambda: {"found": 3}) == {"found": 2}
