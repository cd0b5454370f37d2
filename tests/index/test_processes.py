from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from captum_tfa import GradientIndex
from captum_tfa.index import open_parts
from tests.index.small import Counted, build, build_sum, contents

pytestmark = pytest.mark.slow
ROOT = Path(__file__).parents[2]
COUNT = 55  # five shards, the last of seven examples


def torchrun(folder: Path, processes: int, **environment: str) -> None:
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone"]
    # A busy machine may also lose a connection between processes that begin.
    command += [f"--nproc-per-node={processes}", "--max-restarts=3"]
    command += ["-m", "tests.index.builder", str(folder), str(COUNT), "0"]
    done = subprocess.run(
        command,
        cwd=ROOT,
        env={**os.environ, "OMP_NUM_THREADS": "1", **environment},
        capture_output=True,
        text=True,
        timeout=500,
    )
    assert done.returncode == 0, done.stderr[-3000:]


@pytest.mark.parametrize("processes", [2, 3, 4])
def test_several_processes_write_the_bytes_of_one(tmp_path: Path, processes: int) -> None:
    torchrun(tmp_path / "many", processes)
    build(Counted(COUNT), tmp_path / "one")
    assert contents(tmp_path / "many") == contents(tmp_path / "one")
    GradientIndex.open(tmp_path / "many", Counted(COUNT)).verify()


def test_a_rank_that_dies_is_started_again(tmp_path: Path) -> None:
    dead = tmp_path / "dead"
    torchrun(tmp_path / "many", 2, DIE_ONCE=str(dead))
    assert dead.exists()
    build(Counted(COUNT), tmp_path / "one")
    assert contents(tmp_path / "many") == contents(tmp_path / "one")


@pytest.mark.parametrize("dies", [False, True])
def test_several_processes_write_the_parts_of_a_sum_as_one_does(tmp_path: Path, dies: bool) -> None:
    dead = tmp_path / "dead"
    torchrun(tmp_path / "many", 2, PARTS="1", **({"DIE_ONCE": str(dead)} if dies else {}))
    assert dead.exists() == dies
    build_sum(Counted(COUNT), tmp_path / "one")
    for name in ("000", "001"):
        assert contents(tmp_path / "many" / name) == contents(tmp_path / "one" / name)
    for index in open_parts(tmp_path / "many", Counted(COUNT)):
        index.verify()
