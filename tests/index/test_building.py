from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import torch

from captum_tfa import GradCosScore, GradientIndex
from captum_tfa.index import gradient_index
from captum_tfa.index.locks import the_builder
from captum_tfa.index.settings import Settings
from captum_tfa.index.shards import told_of_storage
from tests.index.small import BATCH, DIMENSION, Counted, build, contents
from tests.influence.tiny_sets import linear_and_conv

COUNT = 31  # two full shards, and one of a full batch and a part of one
ROOT = Path(__file__).parents[2]


def start(folder: Path, delay: float) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "tests.index.builder", str(folder), str(COUNT), str(delay)]
    return subprocess.Popen(command, cwd=ROOT, text=True, stderr=subprocess.PIPE)


def rows_in(folder: Path) -> int:
    settings = Settings.read(folder)
    return sum(
        gradient_index.ShardFiles(folder, settings, number).rows_there()
        for number in range(settings.shards)
    )


def wait_for(condition: Any, process: subprocess.Popen[str]) -> None:
    for _ in range(3000):
        if condition():
            return
        assert process.poll() is None, process.communicate()[1]
        time.sleep(0.02)
    raise AssertionError("it never came")


@pytest.mark.slow
@pytest.mark.parametrize("batches", [1, 4])
def test_a_killed_builder_loses_at_most_the_running_batch(tmp_path: Path, batches: int) -> None:
    folder = tmp_path / "killed"
    process = start(folder, 0.05)
    there = folder / "index.json"
    wait_for(lambda: there.exists() and rows_in(folder) >= batches * BATCH, process)
    before = rows_in(folder)
    os.kill(process.pid, signal.SIGKILL)
    process.communicate()
    kept = rows_in(folder)
    assert kept >= before
    assert not GradientIndex.open(folder).complete
    data = Counted(COUNT)
    assert build(data, folder).complete
    assert len(data.asked) - 16 <= COUNT - kept + BATCH - 1  # the sample comes first
    build(Counted(COUNT), tmp_path / "whole")
    assert contents(folder) == contents(tmp_path / "whole")


@pytest.mark.slow
def test_a_second_builder_is_refused_and_the_first_goes_on(tmp_path: Path) -> None:
    process = start(tmp_path, 0.05)
    wait_for(lambda: (tmp_path / "index.json").exists(), process)
    with pytest.raises(BlockingIOError, match="Another process is building") as caught:
        build(Counted(COUNT), tmp_path)
    assert "\n" not in str(caught.value)
    assert process.wait() == 0
    GradientIndex.open(tmp_path).verify()


def test_locks_tell_runs_from_ranks_of_one_run(tmp_path: Path) -> None:
    with the_builder(tmp_path, 0, 2), the_builder(tmp_path, 1, 2):
        for rank, ranks in ((0, 1), (1, 2), (0, 3)):
            with pytest.raises(BlockingIOError), the_builder(tmp_path, rank, ranks):
                pass
    with the_builder(tmp_path, 0, 1):
        pass


@pytest.mark.parametrize("stop", [1, 5, 12, 14, 24, 30])
def test_a_build_that_fails_anywhere_goes_on_to_the_same_bytes(tmp_path: Path, stop: int) -> None:
    build(Counted(COUNT), tmp_path / "whole")

    class Failing(Counted):
        def __getitem__(self, index: int) -> tuple[torch.Tensor, int]:
            if len(self.asked) >= 16 + stop:
                raise KeyError("a broken file")
            return super().__getitem__(index)

    with pytest.raises(KeyError):
        build(Failing(COUNT), tmp_path / "parts")
    build(Counted(COUNT), tmp_path / "parts")
    assert contents(tmp_path / "parts") == contents(tmp_path / "whole")


def test_what_was_half_written_leaves_nothing_behind(tmp_path: Path) -> None:
    build(Counted(COUNT), tmp_path)
    before = contents(tmp_path)
    for name in ("000001.json", "000001.codes"):
        (tmp_path / name).rename(tmp_path / f".{name}.0123456789ab.new")
    build(Counted(COUNT), tmp_path)
    assert contents(tmp_path) == before


def test_a_finished_index_is_not_built_again(tmp_path: Path) -> None:
    build(Counted(COUNT), tmp_path)
    data = Counted(COUNT)
    build(data, tmp_path)
    assert len(data.asked) == 16


def test_images_that_were_added_are_appended(tmp_path: Path) -> None:
    build(Counted(17), tmp_path / "grown")
    data = Counted(COUNT)
    build(data, tmp_path / "grown")
    build(Counted(COUNT), tmp_path / "whole")
    assert contents(tmp_path / "grown") == contents(tmp_path / "whole")
    assert min(data.asked[32:]) == 16  # after two samples; batches of 4 begin at 16


def test_a_full_disk_is_one_line_and_the_build_goes_on_later(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, calls = os.fsync, []

    def full(descriptor: int) -> None:
        calls.append(descriptor)
        if len(calls) > 7:
            raise OSError(errno.ENOSPC, "No space left on device")
        real(descriptor)

    with monkeypatch.context() as patched:
        patched.setattr(os, "fsync", full)
        with pytest.raises(OSError, match="there is no space left; make some") as caught:
            build(Counted(COUNT), tmp_path / "full")
    assert "\n" not in str(caught.value)
    assert "goes on where it stopped" in str(caught.value)
    build(Counted(COUNT), tmp_path / "full").verify()
    build(Counted(COUNT), tmp_path / "whole")
    assert contents(tmp_path / "full") == contents(tmp_path / "whole")


def test_too_little_space_is_told_before_the_work(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Small:
        f_bavail, f_frsize = 1, 1000

    monkeypatch.setattr(os, "statvfs", lambda folder: Small)
    data = Counted(COUNT)
    with pytest.raises(OSError, match=r"MB more, and 0\.0 MB are free"):
        build(data, tmp_path)
    assert len(data.asked) == 16


@pytest.mark.parametrize("number", [errno.EROFS, errno.EACCES, errno.EPERM])
def test_a_folder_that_must_not_be_written_to_is_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    def refuse(*_: Any, **__: Any) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(Path, "mkdir", refuse)
    with pytest.raises(OSError, match="must not be written to; give a folder that may be"):
        build(Counted(COUNT), tmp_path / "locked")


def test_other_errors_of_the_file_system_are_told_too(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="Input/output error"), told_of_storage(tmp_path):
        raise OSError(errno.EIO, os.strerror(errno.EIO))


def test_small_gradients_do_not_become_zero_in_half_precision(tmp_path: Path) -> None:
    model = linear_and_conv()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(1e-2)
        model.out.weight.mul_(1e-9)
        model.out.bias.copy_(torch.tensor([16.0, 0.0, 0.0]))
    data = torch.utils.data.TensorDataset(Counted(9).images, torch.zeros(9, dtype=torch.long))
    index = GradientIndex.build(GradCosScore(model), data, tmp_path, dimension=DIMENSION)
    assert float(index.norms.max()) < 1e-6  # float16 ends at 6e-8
    for rows in index.chunks():
        assert float(rows.stored.abs().max()) > 0.1


def test_caller_s_random_numbers_and_the_model_are_left_alone(tmp_path: Path) -> None:
    torch.manual_seed(3)
    before = torch.get_rng_state()
    build(Counted(COUNT), tmp_path)
    assert torch.equal(before, torch.get_rng_state())


def test_a_gradient_that_is_not_finite_is_named(tmp_path: Path) -> None:
    data = Counted(COUNT)
    data.images[13, 0, 0, 0] = float("nan")
    with pytest.raises(RuntimeError, match="Training example 13 has a loss or a parameter"):
        build(data, tmp_path)


def test_progress_tells_images_a_second_and_the_time_left(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    build(Counted(COUNT), tmp_path, show_progress=True)
    said = capsys.readouterr().err
    assert f"{COUNT}/{COUNT}" in said
    assert "image/s" in said
    assert "<" in said
