"""A file is written whole, or not at all."""

from __future__ import annotations

from pathlib import Path

import pytest

from captum_tfa.whole_file import whole_file


@pytest.mark.parametrize("name", ["a.txt", "x" * 250])
def test_it_takes_the_files_place_when_all_is_written(tmp_path: Path, name: str) -> None:
    file = tmp_path / name
    file.write_text("before")
    with whole_file(file) as new:
        new.write_text("after")
        assert file.read_text() == "before"
        assert new.name.startswith(f".{name[:100]}.")
    assert file.read_text() == "after"
    assert list(tmp_path.iterdir()) == [file]


@pytest.mark.parametrize("error", [OSError, KeyboardInterrupt])
@pytest.mark.parametrize("there", [True, False])
def test_an_exception_leaves_what_was_there(
    tmp_path: Path, error: type[BaseException], there: bool
) -> None:
    file = tmp_path / "a.txt"
    if there:
        file.write_text("before")

    def write_half() -> None:
        with whole_file(file) as new:
            new.write_text("half of it")
            raise error

    with pytest.raises(error):
        write_half()
    assert [path.read_text() for path in tmp_path.iterdir()] == ["before"] * there
