from __future__ import annotations

import json
from pathlib import Path

import pytest

from captum_tfa import GradientIndex
from captum_tfa.cli.main import main
from tests.cli.conftest import Home


def build(home: Home, *more: str) -> list[str]:
    rest = ["--data", "pets", "--model", home.model, "--weights", "weights.pt"]
    return ["index", "build", "kept", *rest, "--dimension", "32", *more]


def test_build_info_verify_and_explain(home: Home, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(build(home)) == 0
    assert "finished" in capsys.readouterr().out
    assert main(["index", "info", "kept"]) == 0
    said = capsys.readouterr().out
    assert "8 training examples, prepared by Compose" in said
    assert "32 numbers of float16" in said
    assert main(["index", "verify", "kept"]) == 0
    assert "all is right with the 8 training examples" in capsys.readouterr().out
    assert main(home.arguments(out="plain", score="grad-cos")) == 0
    assert main(home.arguments(out="indexed", score="grad-cos", index="kept")) == 0
    plain, indexed = (
        json.loads((home.folder / name / "explanation.json").read_text())
        for name in ("plain", "indexed")
    )
    for side in ("proponents", "opponents"):
        for one, other in zip(plain[side], indexed[side], strict=True):
            assert one["index"] == other["index"]
            assert one["score"] == pytest.approx(other["score"], rel=1e-4)


def test_a_second_build_has_nothing_to_do(home: Home) -> None:
    assert main(build(home)) == 0
    before = {path: path.stat().st_mtime_ns for path in Path("kept").glob("*.projections")}
    assert main(build(home)) == 0
    assert before == {path: path.stat().st_mtime_ns for path in Path("kept").glob("*.projections")}


def test_an_index_of_the_margin_is_not_for_explain(
    home: Home, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(build(home, "--loss", "margin")) == 0
    assert "minus_margin" in GradientIndex.open("kept").info()
    assert main(home.arguments(index="kept", score="grad-cos")) == 2
    assert "is another one: it was built with loss" in capsys.readouterr().err


@pytest.mark.parametrize("action", ["info", "verify"])
def test_no_index_is_one_line(action: str, home: Home, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["index", action, "nowhere"]) == 2
    said = capsys.readouterr().err
    assert "holds no index" in said
    assert said.count("\n") == 1


def test_verify_names_the_damage(home: Home, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(build(home)) == 0
    victim = Path("kept/000000.projections")
    content = bytearray(victim.read_bytes())
    content[5] ^= 8
    victim.write_bytes(content)
    capsys.readouterr()
    assert main(["index", "verify", "kept"]) == 2
    assert "000000.projections is damaged" in capsys.readouterr().err


def test_processes_that_do_not_find_each_other_are_told(
    home: Home, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    assert main(build(home)) == 2
    assert "start them with torchrun" in capsys.readouterr().err
