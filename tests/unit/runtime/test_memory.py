"""Mappings of a user's memory: who gets one, how long it lives, what happens when there is none."""

from __future__ import annotations

import mmap
from types import SimpleNamespace

import numpy as np
import pytest

from openhailo.driver.link import DmaDirection
from openhailo.errors import DmaMapError
from openhailo.runtime.memory import UserMemory, aligned_empty, is_page_aligned

PAGE = mmap.PAGESIZE
TO, BACK = DmaDirection.TO_DEVICE, DmaDirection.FROM_DEVICE


class Link:
    """Maps anything, and remembers what is mapped."""

    def __init__(self):
        self.live = []
        self.refuses = False

    def map_buffer(self, view, direction):
        if self.refuses:
            raise DmaMapError(detail="not this one", size_bytes=len(view))
        buffer = SimpleNamespace(view=view, direction=direction)
        buffer.close = lambda: self.live.remove(buffer)
        self.live.append(buffer)
        return buffer


@pytest.fixture
def link():
    return Link()


def frames(count=1, size=PAGE):
    return aligned_empty((count, size))


@pytest.mark.parametrize(("shape", "dtype"), [((3, 5), np.uint8), ((2, 7, 4), np.float32), ((0, 4), np.uint16)])
def test_aligned_arrays_own_whole_pages(shape, dtype):
    array = aligned_empty(shape, dtype)
    assert (array.shape, array.dtype) == (shape, dtype)
    assert is_page_aligned(array) and array.flags.writeable
    array[...] = 1
    assert not is_page_aligned(np.zeros(3 * PAGE, np.uint8)[1 : PAGE + 1])
    assert not is_page_aligned(aligned_empty((4, PAGE))[:, ::2])


def test_the_same_memory_is_mapped_once_for_each_direction(link):
    memory, array = UserMemory(link), frames()
    first, transfers = memory.acquire(array, PAGE, TO)
    second, again = memory.acquire(array.reshape(1, 64, -1), PAGE, TO)
    assert first is second and transfers is again and len(link.live) == 1
    assert transfers == (((first.buffer, 0, PAGE),),)
    assert memory.acquire(array, PAGE, BACK)[0] is not first
    assert [buffer.direction for buffer in link.live] == [TO, BACK]
    assert len(memory) == 2


def test_several_frames_are_transfers_of_their_own_when_each_begins_on_a_page(link):
    memory = UserMemory(link)
    mapping, transfers = memory.acquire(frames(3), PAGE, TO)
    assert [ranges[0][1:] for ranges in transfers] == [(0, PAGE), (PAGE, PAGE), (2 * PAGE, PAGE)]
    assert memory.acquire(frames(3, 100), 100, TO) is None
    assert memory.acquire(frames(1, 100), 100, TO) is not None
    assert len(link.live) == 2 and mapping.users == 1


def test_what_cannot_be_mapped_is_for_copying(link):
    memory = UserMemory(link)
    assert memory.acquire(np.zeros(PAGE + 1, np.uint8)[1:][None], PAGE, TO) is None
    link.refuses = True
    assert memory.acquire(frames(), PAGE, TO) is None
    assert len(memory) == 0


def test_the_least_recently_used_mapping_that_is_idle_goes_first(link):
    memory = UserMemory(link, kept=2)
    arrays = [frames() for _ in range(4)]
    held = [memory.acquire(array, PAGE, TO)[0] for array in arrays[:3]]
    assert len(link.live) == 3  # all are in use
    memory.release(held[:1])
    assert [buffer for buffer in link.live if buffer is held[0].buffer] == []
    memory.release(held[1:])
    memory.release([memory.acquire(arrays[1], PAGE, TO)[0]])
    memory.release([memory.acquire(arrays[3], PAGE, TO)[0]])
    assert {id(buffer) for buffer in link.live} == {
        id(held[1].buffer),
        id(memory.acquire(arrays[3], PAGE, TO)[0].buffer),
    }


def test_closing_unmaps_everything(link):
    memory = UserMemory(link)
    memory.acquire(frames(), PAGE, TO)
    memory.close()
    memory.close()
    assert link.live == []
