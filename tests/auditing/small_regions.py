"""Evidence and one cluster of it, as given."""

from __future__ import annotations

import torch

from captum_tfa.auditing.clusters import Cluster
from captum_tfa.auditing.evidence import Evidence
from captum_tfa.auditing.regions import ControlNumbers, Regions


def regions_of(
    size: int,
    indices: list[int],
    scores: list[float],
    peaks: list[list[float]],
    box: tuple[int, int, int, int],
    stands_out: bool = True,
) -> tuple[Evidence, Regions]:
    """Pairs of mistakes 0, 1, ... with training images of class 1, all in one cluster."""
    count = len(indices)
    generator = torch.Generator().manual_seed(count)
    evidence = Evidence(
        mistakes=torch.arange(count),
        indices=torch.tensor(indices),
        labels=torch.ones(count, dtype=torch.long),
        scores=torch.tensor(scores),
        maps=torch.randn(count, size, size, generator=generator),
        images=torch.randint(0, 256, (count, 3, size, size), generator=generator).byte(),
    )
    cluster = Cluster(
        members=torch.arange(count),
        images=len(set(indices)),
        share_of_mistakes=1.0,
        purity={1: 1.0},
        mean_map=torch.rand(size, size, generator=generator),
        mean_patch=torch.rand(3, 4, 4, generator=generator),
        peaks=torch.tensor(peaks),
        box=box,
        at_one_place=1.0,
        strength=9.0 if stands_out else 1.0,
        gap=7.0 if stands_out else -1.0,
        lift=4.0,
        p=0.25 if stands_out else 1.0,
        stands_out=stands_out,
        examples=torch.arange(count)[:6],
    )
    says = "One region stands out; its strength is 9." if stands_out else "Nothing stands out."
    return evidence, Regions(
        clusters=(cluster,),
        groups=torch.zeros(count, dtype=torch.long),
        embedding=torch.randn(count, 2, generator=generator),
        control=ControlNumbers((1.0, 2.0, 3.0), 3.0, 10.0, 0.25),
        stands_out=int(stands_out),
        says=says,
    )
