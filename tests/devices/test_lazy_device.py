"""Nothing mixes devices: on the lazy device, which every build of torch has, that is an error."""

from __future__ import annotations

import subprocess
import sys


def test_results_on_the_lazy_device_are_those_of_the_cpu() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "tests.devices.lazy_device"], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr[-3000:]
    assert done.stdout.count("the same") == 10
