from __future__ import annotations

import subprocess
import sys
import warnings

import pytest

import captum_tfa
from captum_tfa.cli import demo
from captum_tfa.cli import main as main_module
from captum_tfa.cli.main import main
from captum_tfa.report import arguments, methods


def last_line(capsys: pytest.CaptureFixture[str]) -> str:
    return capsys.readouterr().err.strip()


def test_help_names_the_commands(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        main(["--help"])
    assert stop.value.code == 0
    told = capsys.readouterr().out
    assert "explain" in told
    assert "demo" in told


@pytest.mark.parametrize("command", ["explain", "demo"])
def test_each_command_has_help(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        main([command, "--help"])
    assert stop.value.code == 0
    assert "--out" in capsys.readouterr().out


def test_help_names_every_map_and_score_and_the_defaults(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with pytest.raises(SystemExit):
        main(["explain", "--help"])
    told = " ".join(capsys.readouterr().out.split())
    assert f"(default: {methods.DEFAULT}" in told
    for name in methods.METHODS:
        assert name in told
    assert f"(default: {arguments.DEFAULT_SCORE})" in told
    assert f"at most {arguments.FITTED_TO:,} training images" in told
    for name in (*arguments.SCORES, arguments.WITH_CURVATURE):
        assert name in told


def test_version_is_the_packages(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["--version"])
    assert capsys.readouterr().out.strip() == f"captum-tfa {captum_tfa.__version__}"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "COMMAND"),
        (["explane"], "explane"),
        (["demo", "--outt", "x"], "--outt"),
        (["explain"], "--data"),
        (["explain", "--top", "0"], "--top: '0' is not a whole number from 1 up"),
        (["explain", "--top", "-3"], "--top"),
        (["explain", "--top", "many"], "--top"),
        (["explain", "--nt-samples", "0"], "--nt-samples"),
        (["explain", "--batch-size", "0"], "--batch-size"),
        (["explain", "--seed", "-1"], "--seed"),
        (["explain", "--seed", "1.5"], "--seed"),
    ],
)
def test_a_wrong_command_line_is_one_line_and_status_2(
    arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(arguments) == 2
    told = last_line(capsys)
    assert told.startswith("captum-tfa: error: ")
    assert message in told
    assert "--help" in told
    assert "\n" not in told


def test_ctrl_c_is_status_130_without_a_traceback(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def interrupted(options: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(demo, "run", interrupted)
    assert main(["demo"]) == 130
    assert last_line(capsys) == "captum-tfa: stopped"


def test_bugs_are_not_hidden(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(options: object) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(demo, "run", broken)
    with pytest.raises(ZeroDivisionError):
        main(["demo"])


def test_a_warning_is_one_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(demo, "run", lambda options: warnings.warn("mind\nthis", stacklevel=1))
    assert main(["demo"]) == 0
    assert last_line(capsys) == "captum-tfa: warning: mind this"


def test_as_a_process_it_prints_help_without_loading_torch() -> None:
    code = (
        "import sys\nfrom captum_tfa.cli.main import main\n"
        "try:\n    main(['--help'])\nexcept SystemExit:\n    pass\n"
        "sys.exit('torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "explain" in done.stdout


def test_python_m_captum_tfa_is_the_command() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "captum_tfa", "demo", "--data", "no-such-folder"],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 2
    assert done.stdout == ""
    assert done.stderr == (
        "captum-tfa: error: --data no-such-folder does not exist; "
        "name a folder that holds one folder a class\n"
    )


def test_main_takes_the_arguments_of_the_process(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["captum-tfa"])
    assert main_module.main() == 2
