from __future__ import annotations

from pathlib import Path

import pytest

from captum_tfa.auditing.writing import write_whole


def test_a_text_is_written_as_it_is_in_utf8(tmp_path: Path) -> None:
    file = write_whole(tmp_path / "new" / "a.csv", "a\r\nü\n")
    assert file.read_bytes() == "a\r\nü\n".encode()
    write_whole(file, "b")
    assert file.read_bytes() == b"b"
    assert [entry.name for entry in file.parent.iterdir()] == ["a.csv"]


def test_a_full_disk_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = write_whole(tmp_path / "a.html", "old")

    def full(self: Path, target: Path) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "replace", full)
    with pytest.raises(OSError, match=r"a.html cannot be written \(No space left"):
        write_whole(file, "new")
    assert file.read_text() == "old"
    assert [entry.name for entry in tmp_path.iterdir()] == ["a.html"]


def test_ctrl_c_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def stopped(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(Path, "replace", stopped)
    with pytest.raises(KeyboardInterrupt):
        write_whole(tmp_path / "a.html", "new")
    assert list(tmp_path.iterdir()) == []


def test_a_folder_in_the_place_is_refused(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="cannot be written"):
        write_whole(tmp_path, "text")
