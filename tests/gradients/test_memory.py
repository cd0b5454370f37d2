"""How many examples a pass takes follows from what passes have shown."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from captum_tfa.gradients import memory
from captum_tfa.gradients.memory import Room


def _seen(batch: int = 1, shared: bool = False) -> Room:
    """After a pass of images of 400 bytes, whose activations take as much."""
    room = Room()
    room.saw([torch.zeros(batch, 100)], [torch.zeros(batch, 100)], shared)
    return room


def test_before_anything_is_known_passes_are_small() -> None:
    room = Room()
    assert room.with_graph([torch.zeros(9, 100)]) == 1
    assert room.without_graph([torch.zeros(9, 100)], 64) == 4
    assert room.without_graph([torch.zeros(2, 100)], 2) == 2


def test_rows_grow_with_memory_within_their_bounds(monkeypatch: pytest.MonkeyPatch) -> None:
    images = [torch.zeros(9, 100)]
    rows = {}
    for size in (0, 2401 * 3, 2401 * 30, 2**40):
        monkeypatch.setattr(memory, "_free_bytes", lambda device, size=size: size)
        monkeypatch.setattr(memory, "_BYTES_WITHOUT_GRAPH_ON_CPU", size)
        rows[size] = _seen().with_graph(images), _seen().without_graph(images, 50)
    assert list(rows.values()) == [(1, 4), (3, 4), (30, 30), (64, 50)]


def test_larger_images_take_more_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "_free_bytes", lambda device: 2401 * 30)
    assert _seen().with_graph([torch.zeros(1, 300)]) == 10
    assert _seen().with_graph([torch.zeros(1, 50)]) == 60


def test_a_batch_decides_whether_examples_share_positions() -> None:
    images = [torch.zeros(9, 100)]
    room = _seen(shared=True)
    assert room.one_at_a_time is None
    assert room.with_graph(images) == 2
    room.saw(images, images, True)
    assert room.one_at_a_time
    assert (room.with_graph(images), room.without_graph(images, 9)) == (1, 1)
    room.saw(images, images, False)
    assert room.with_graph(images) > 2


def test_what_a_system_does_not_tell_is_taken_for_enough(monkeypatch: pytest.MonkeyPatch) -> None:
    def unknown(name: str) -> int:
        raise ValueError(name)

    monkeypatch.setattr(memory.os, "sysconf", unknown)
    assert memory._free_bytes(torch.device("cpu")) == 2**30


@given(count=st.integers(1, 200), most=st.integers(1, 70), seen=st.booleans())
def test_parts_are_all_rows_in_order_and_of_about_one_size(
    count: int, most: int, seen: bool
) -> None:
    room = _seen() if seen else Room()
    parts = list(room.parts([torch.zeros(count, 100)], most))
    assert [row for part in parts for row in range(part.start, part.stop)] == list(range(count))
    sizes = [part.stop - part.start for part in parts]
    assert max(sizes) <= most
