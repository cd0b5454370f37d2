from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from captum_tfa import GradientIndex
from captum_tfa.cli.main import main
from tests.cli.conftest import Home
from tests.cli.test_explain import refused
from tests.cli.test_scores import checkpoints
from tests.index.small import contents

ROOT = Path(__file__).parents[2]
SIDES = ("proponents", "opponents")


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


def explained(home: Home, out: str, score: str, more: list[str], **changes: str | None) -> Any:
    """What an explanation says of training images."""
    assert main([*home.arguments(out=out, score=score, **changes), *more]) == 0
    found = json.loads((home.folder / out / "explanation.json").read_text())
    ends = [[(one["index"], one["score"]) for one in found[side]] for side in SIDES]
    return [found["settings"]["index"], *ends]


@pytest.mark.parametrize(
    ("option", "scores", "parts"),
    [("--checkpoints", ["tracin"], 2), ("--ensemble", ["grad-dot", "grad-cos", "influence"], 3)],
)
def test_parts_of_a_sum_are_built_told_checked_and_used(
    home: Home,
    capsys: pytest.CaptureFixture[str],
    option: str,
    scores: list[str],
    parts: int,
) -> None:
    more = [option, *checkpoints(home)]
    assert main(build(home, *more)) == 0
    built = capsys.readouterr().out
    assert main(["index", "info", "kept"]) == 0
    assert capsys.readouterr().out == built
    assert built.count("Gradient index in ") == parts
    assert built.count("8 training examples") == parts
    assert [f", seed {number}, and" in built for number in range(4)].count(True) == parts
    assert main(["index", "verify", "kept"]) == 0
    told = capsys.readouterr().out
    for number in range(parts):
        folder = home.folder / "kept" / f"00{number}"
        assert f"all is right with the 8 training examples in {folder}" in told
    for score in scores:
        quick = {"method": "gradient", "nt_samples": "1"}
        plain = explained(home, f"plain {score}", score, more, **quick)
        indexed = explained(home, f"indexed {score}", score, more, index="kept", **quick)
        assert indexed[0] == f"32 numbers an example of each of {parts} parts"
        for one, other in zip(plain[1:], indexed[1:], strict=True):
            assert [place for place, _ in one] == [place for place, _ in other]
            values = [value for _, value in other]
            assert [value for _, value in one] == pytest.approx(values, rel=1e-4)


def test_learning_rates_count_when_the_index_is_asked(home: Home) -> None:
    more = ["--checkpoints", *checkpoints(home)]
    assert main(build(home, *more)) == 0
    more += ["--learning-rates", "0.1", "-0.5"]
    plain = explained(home, "plain", "tracin", more)
    indexed = explained(home, "indexed", "tracin", more, index="kept")
    assert [place for place, _ in plain[1]] == [place for place, _ in indexed[1]]


def test_an_index_of_another_number_of_parts_is_refused(
    home: Home, capsys: pytest.CaptureFixture[str]
) -> None:
    files = checkpoints(home)
    assert main(build(home, "--checkpoints", *files)) == 0
    refused(
        home, capsys, "2 indices were given for the 1 part of a TracInScore",
        score="tracin", checkpoints=files[0], index="kept",
    )  # fmt: skip
    command = home.arguments(score="tracin", index="kept", out="turned")
    assert main([*command, "--checkpoints", *files[::-1]]) == 2
    assert "Part 1 of 2 of the TracInScore: The index in" in capsys.readouterr().err
    refused(home, capsys, "2 indices were given for a score that is no sum", index="kept")
    refused(
        home, capsys, "Part 1 of 2 of the EnsembleScore", index="kept", ensemble=files[0],
    )  # fmt: skip
    # Before a curvature is fitted and kept.
    refused(home, capsys, "2 indices were given for a", index="kept", curvature="c.safetensors")
    assert not Path("c.safetensors").exists()
    assert main(build(home)) == 2
    assert "holds indices of the parts of a sum of scores" in capsys.readouterr().err
    assert main([*build(home, "--ensemble", files[0]), "--checkpoints", files[0]]) == 2
    assert "not allowed with argument" in capsys.readouterr().err


def test_the_damage_in_each_part_is_named(home: Home, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(build(home, "--checkpoints", *checkpoints(home))) == 0
    for part in ("000", "001"):
        Path("kept", part, "000000.norms").write_bytes(b"")
    capsys.readouterr()
    assert main(["index", "verify", "kept"]) == 2
    told = capsys.readouterr().err
    for part in ("000", "001"):
        assert f"{home.folder / 'kept' / part} has 1 problem" in told


@pytest.mark.slow
@pytest.mark.parametrize("option", ["--checkpoints", "--ensemble"])
def test_processes_share_the_parts(home: Home, option: str) -> None:
    more = [option, *checkpoints(home)]
    assert main(build(home, *more)) == 0
    Path("kept").rename("alone")
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone"]
    command += ["--nproc-per-node=2", "--max-restarts=3", "-m", "captum_tfa", *build(home, *more)]
    path = os.pathsep.join([str(ROOT), str(home.folder)])
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": path}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=500)
    assert done.returncode == 0, done.stderr[-3000:]
    for name in ("000", "001"):
        assert contents(Path("kept", name)) == contents(Path("alone", name))
