"""MEMORY: the peak of a process that makes one map."""

from __future__ import annotations

from tests.benchmarks import map_contenders as maps
from tests.benchmarks.markdown import number, table
from tests.benchmarks.measuring import peak_megabytes
from tests.benchmarks.models import SMALL

FULL = {SMALL: 16, "resnet18": 4}  # noise samples
QUICK = {SMALL: 8}

_NAMES = (maps.FORWARD, maps.NAIVE, maps.CACHED, maps.VMAP, maps.OURS)


def sections(samples: dict[str, int]) -> dict[str, str]:
    """The table: megabytes of a process of its own for each map."""
    rows = [
        [
            f"{model}, {count} noise samples",
            *(number(peak_megabytes(maps.on_cpu, name, model, count)) for name in _NAMES),
        ]
        for model, count in samples.items()
    ]
    head = ("peak resident MB", *_NAMES)
    return {"memory": f"### Memory of a map\n\n{table(head, rows)}"}
