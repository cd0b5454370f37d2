"""Traces of a patch grid, on maps whose traces are known."""

from __future__ import annotations

import pytest
import torch

from common.patch_structure import border_steps, repeated_share

NOISE = torch.randn(200, 32, 32, generator=torch.Generator().manual_seed(0)).double()


def test_noise_has_no_grid() -> None:
    assert float(border_steps(NOISE, 8).mean()) == pytest.approx(1, abs=0.05)
    assert float(repeated_share(NOISE, 8).mean()) == pytest.approx(63 / 1023, rel=0.05)


def test_steps_lie_at_the_borders_of_uniform_patches() -> None:
    values = NOISE[:, :4, :4].repeat_interleave(8, 1).repeat_interleave(8, 2)
    assert torch.isinf(border_steps(values, 8)).all()
    slope = 0.5 * torch.arange(32) + 3 * (torch.arange(32) // 8)  # steps of 0.5, and 3.5 at borders
    values = (slope[:, None] + slope)[None]
    torch.testing.assert_close(border_steps(values, 8), torch.tensor([7.0]))


def test_a_tile_that_repeats_is_all_there_is() -> None:
    tiled = NOISE[:, :8, :8].repeat(1, 4, 4)
    torch.testing.assert_close(repeated_share(tiled, 8), torch.ones(200).double())
    assert float(repeated_share(tiled, 4).mean()) < 0.5


def test_repeated_share_is_the_energy_at_multiples_of_the_grids_frequency() -> None:
    energy = torch.fft.fft2(NOISE).abs() ** 2
    energy[:, 0, 0] = 0
    comb = energy[:, ::8, ::8].sum(dim=(1, 2))  # 32 / 4: the period of 4 pixels
    torch.testing.assert_close(repeated_share(NOISE, 4), comb / energy.sum(dim=(1, 2)))
