"""What is said never keeps a result from being saved."""

from __future__ import annotations

import io
import os
import subprocess
import sys
from pathlib import Path

import pytest

from captum_tfa.cli import demo
from captum_tfa.cli.main import main
from captum_tfa.cli.output import say
from tests.cli.conftest import Home, quick_explain, write_picture
from tests.cli.test_explain import FILES


def _saved(folder: Path) -> set[str]:
    return {entry.name for entry in folder.iterdir()}


def test_a_process_of_its_own_whose_console_lacks_the_letters_of_a_name(home: Home) -> None:
    write_picture(home.folder / "пёс.png", 2)
    done = subprocess.run(
        [sys.executable, "-m", "captum_tfa", *home.arguments(image="пёс.png")],
        capture_output=True,
        env={**os.environ, "PYTHONIOENCODING": "ascii"},
    )
    assert done.returncode == 0, done.stderr
    assert b"???.png: the model says" in done.stdout
    assert b"why " in done.stdout
    assert _saved(home.folder / "why") == FILES


def test_a_console_of_windows_that_lacks_them(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    write_picture(home.folder / "пёс.png", 2)
    written = io.BytesIO()
    with monkeypatch.context() as patched:
        console = io.TextIOWrapper(written, encoding="cp1252", write_through=True)
        patched.setattr(sys, "stdout", console)
        assert main(home.arguments(image="пёс.png")) == 0
    assert b"???.png: the model says" in written.getvalue()
    assert _saved(home.folder / "why") == FILES


def test_a_reader_that_leaves_after_the_first_line(home: Home) -> None:
    command = [sys.executable, "-m", "captum_tfa", *home.arguments()]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.readline()
        process.stdout.close()
        told = process.stderr.read().decode()
        assert process.wait() == 0
    assert "Traceback" not in told
    assert "BrokenPipe" not in told
    assert _saved(home.folder / "why") == FILES


def test_help_that_nobody_reads_ends_quietly() -> None:
    command = [sys.executable, "-m", "captum_tfa", "explain", "--help"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.close()
        assert b"Traceback" not in process.stderr.read()


@pytest.mark.parametrize("out", ["why", "new/deep/why"])
def test_the_demo_saves_before_it_tells(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, out: str
) -> None:
    monkeypatch.setattr(demo, "explain", quick_explain)
    said: list[tuple[str, bool]] = []
    folder = tmp_path / out
    monkeypatch.setattr(demo, "say", lambda text: said.append((text, folder.exists())))
    demo.run_shapes(str(folder), 20, 8, epochs=1, nt_samples=1)
    text, saved = said[-1]
    assert "figure: " in text
    assert saved
    assert _saved(folder) == FILES


def test_letters_that_are_lacking_are_replaced(capsys: pytest.CaptureFixture[str]) -> None:
    say("plain")
    assert capsys.readouterr().out == "plain\n"
