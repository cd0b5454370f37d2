"""Settings: the defaults in a notebook, the command line's word in a script."""

from __future__ import annotations

import sys
from types import SimpleNamespace

import pytest

from common.settings import settings

DEFAULTS = {"data": "cifar10", "images": 500, "noise_level": 0.1, "plots": True, "sides": (1, 2)}


def read(monkeypatch: pytest.MonkeyPatch, *words: str) -> dict[str, object]:
    monkeypatch.setattr(sys, "argv", ["script.py", *words])
    return vars(settings(**DEFAULTS))


def test_without_options_the_defaults_count(monkeypatch: pytest.MonkeyPatch) -> None:
    assert read(monkeypatch) == DEFAULTS


def test_in_a_notebook_the_command_line_says_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "IPython", SimpleNamespace(get_ipython=object))
    assert read(monkeypatch, "--images", "20", "-f", "kernel.json") == DEFAULTS


def test_options_have_the_type_of_their_default(monkeypatch: pytest.MonkeyPatch) -> None:
    words = ["--data=x", "--images", "20", "--noise-level=1e-3", "--no-plots"]
    words += ["--sides", "3", "4", "5"]
    expected = {"data": "x", "images": 20, "noise_level": 1e-3, "plots": False, "sides": (3, 4, 5)}
    assert read(monkeypatch, *words) == expected


def test_an_option_of_the_wrong_type_ends_the_script(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        read(monkeypatch, "--images", "many")
    assert "--images" in capsys.readouterr().err


def test_help_lists_the_defaults(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        read(monkeypatch, "--help")
    shown = " ".join(capsys.readouterr().out.split())
    assert all(f"default: {value}" in shown for value in DEFAULTS.values()), shown


@pytest.mark.parametrize("default", [None, (), [1], (True,)])
def test_a_default_without_a_type_for_the_command_line_is_refused(default: object) -> None:
    with pytest.raises(TypeError, match="give a str, int, float, bool, or a tuple"):
        settings(odd=default)
