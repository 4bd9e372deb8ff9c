"""Streams of boxes: read by a word-at-a-time reader written from hef.md 11 and by ours, in pieces of any size."""

from __future__ import annotations

import struct

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from openhailo.errors import InputError, MalformedReply
from openhailo.runtime.configure.layers import NmsStream
from openhailo.runtime.formats import Quantization
from openhailo.runtime.nms_stream import (
    NmsReader,
    box_table,
    by_class_bytes,
    encode_frame,
    pack_boxes,
    raw_boxes,
    real_boxes,
    round_robin,
    unpack_boxes,
)

END, IMAGE_END = 0xFFFFFFFFFFFFFFFF, 0xFFFFFFFFFFFFFFFE


def boxes_mode(classes, most, chunks=1):
    return NmsStream(classes, most, 8, chunks, 1, per_class_burst=False)


def burst_mode(classes, most, burst, chunks=1):
    return NmsStream(classes, most, 8, chunks, burst, per_class_burst=True)


def slow_words(groups, burst=0):
    """The words of groups of boxes, as the table describes them."""
    words = []
    for group in groups:
        words += [*group, END]
        while burst and len(words) % burst:
            words.append(END)
    return words


def slow_classes(groups, classes):
    """Merge the groups of all chunks class by class."""
    merged = [[] for _ in range(classes)]
    for index, group in enumerate(groups):
        merged[index % classes] += group
    return merged


def lists(frames):
    return [[words.tolist() for words in frame] for frame in frames]


WORD = st.integers(0, IMAGE_END - 2)


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_frames_come_out_as_they_went_in(data):
    classes, most, chunks = (data.draw(st.integers(1, top)) for top in (4, 6, 3))
    burst = data.draw(st.sampled_from([0, 1, 2, 3, 7]))
    nms = burst_mode(classes, most, burst, chunks) if burst else boxes_mode(classes, most, chunks)
    group = st.lists(WORD, max_size=most)
    frames = data.draw(
        st.lists(st.lists(group, min_size=classes * chunks, max_size=classes * chunks), min_size=1, max_size=3)
    )
    words = np.array([w for groups in frames for w in slow_words(groups, burst)], np.uint64)
    transfers = words.reshape(-1, nms.transfer_bytes // 8 if burst else 1)
    reader, seen, at = NmsReader(nms, "boxes"), [], 0
    while at < len(transfers):
        step = data.draw(st.integers(1, len(transfers)))
        seen += reader.feed(transfers[at : at + step])
        at += step
    assert lists(seen) == [slow_classes(groups, classes) for groups in frames]


def test_a_burst_that_holds_every_box_makes_one_transfer_a_frame():
    nms = burst_mode(3, 4, 5)
    assert (nms.transfer_bytes, nms.transfers_per_frame) == (5 * 8 * 3, 1)
    assert burst_mode(3, 5, 5).transfer_bytes == 40
    assert boxes_mode(3, 5).transfer_bytes == 8


def test_a_stray_end_of_image_is_skipped_between_boxes():
    reader = NmsReader(boxes_mode(2, 3), "boxes")
    words = np.array([IMAGE_END, 5, IMAGE_END, END, IMAGE_END, 6, END, IMAGE_END], np.uint64)
    assert lists(reader.feed(words[:, None])) == [[[5], [6]]]


@pytest.mark.parametrize(
    ("nms", "words", "why"),
    [
        (boxes_mode(2, 3), [1, 2, 3, 4], "more than 3 boxes"),
        (boxes_mode(2, 3), [1, 0xFFFFFFFFFFFFFFFD], "neither a box nor a delimiter"),
        (burst_mode(2, 3, 2), [1, END, END, 7], "goes on after its delimiter"),
        (burst_mode(2, 3, 2), [1, IMAGE_END], "neither a box nor a delimiter"),
        (burst_mode(2, 3, 2), [1, 2, 3, 4], "more than 3 boxes"),
    ],
)
def test_malformed_streams_are_refused(nms, words, why):
    reader = NmsReader(nms, "boxes")
    with pytest.raises(MalformedReply, match=why):
        reader.feed(np.array(words, np.uint64).reshape(-1, nms.transfer_bytes // 8))
    reader.reset()
    good = slow_words([[1], [2]], nms.burst_size if nms.per_class_burst else 0)
    assert lists(reader.feed(np.array(good, np.uint64).reshape(-1, nms.transfer_bytes // 8))) == [[[1], [2]]]


@settings(max_examples=200, deadline=None)
@given(st.lists(st.one_of(st.just(END), st.just(IMAGE_END), WORD), max_size=40), st.booleans())
def test_any_words_give_frames_or_a_typed_error(words, burst):
    nms = burst_mode(2, 3, 2) if burst else boxes_mode(2, 3)
    words = words[: len(words) // 2 * 2]
    try:
        frames = NmsReader(nms, "boxes").feed(np.array(words, np.uint64).reshape(-1, 2 if burst else 1))
    except MalformedReply:
        return
    assert all(len(frame) == 2 and max(map(len, frame)) <= 3 for frame in frames)


def test_fields_of_a_box_word():
    # bits 0-11 x_max, 12-23 y_max, 24-35 x_min, 36-47 y_min, 48-63 score (hef.md 11)
    word = 0x0A1 | 0x0B2 << 12 | 0x0C3 << 24 | 0x0D4 << 36 | 0xE5F6 << 48
    boxes = unpack_boxes(np.array([word], np.uint64))
    assert boxes.tolist() == [[0x0D4, 0x0C3, 0x0B2, 0x0A1, 0xE5F6]]
    assert pack_boxes(boxes).tolist() == [word]


def test_numbers_and_packed_layout():
    frame = [pack_boxes(np.array([[1, 2, 3, 4, 50], [5, 6, 7, 8, 60]])), np.empty(0, np.uint64)]
    real = real_boxes(Quantization((1.0, 9.0), (0.5, 9.0)))(frame)
    assert [boxes.tolist() for boxes in real] == [[[0, 0.5, 1, 1.5, 24.5], [2, 2.5, 3, 3.5, 29.5]], []]
    assert [boxes.shape for boxes in real] == [(2, 5), (0, 5)]
    assert {boxes.dtype for boxes in real} == {np.dtype(np.float32)}
    want = struct.pack("<f5f5ff", 2, 0, 0.5, 1, 1.5, 24.5, 2, 2.5, 3, 3.5, 29.5, 0)
    assert by_class_bytes(real) == want
    assert by_class_bytes(raw_boxes(frame)) == struct.pack("<12H", 2, 1, 2, 3, 4, 50, 5, 6, 7, 8, 60, 0)
    with pytest.raises(InputError, match="one \\(n, 5\\) array"):
        by_class_bytes([np.zeros((2, 4), np.float32)])


def test_boxes_as_a_table():
    frame = [np.array([[1, 2, 3, 4, 5]], np.uint16), np.empty((0, 5), np.uint16), np.array([[6, 7, 8, 9, 10]] * 2)]
    rows = [[0, 1, 2, 3, 4, 5], [2, 6, 7, 8, 9, 10], [2, 6, 7, 8, 9, 10]]
    assert box_table(frame).tolist() == rows
    assert box_table([frame[:2], frame[:1]]).tolist() == [[0, *rows[0]], [1, *rows[0]]]
    assert box_table([frame[1]]).shape == (0, 6)
    assert box_table([[frame[1]], [frame[1]]]).shape == (0, 7)


def test_classes_of_several_streams_take_turns():
    parts = [["a0", "a1", "a2"], ["b0", "b1"], ["c0", "c1"]]
    assert round_robin(parts, 7) == ["a0", "b0", "c0", "a1", "b1", "c1", "a2"]


@pytest.mark.parametrize("nms", [boxes_mode(3, 4), burst_mode(3, 4, 5), burst_mode(3, 4, 2), boxes_mode(3, 4, 2)])
def test_what_is_encoded_is_read(nms):
    rng = np.random.default_rng(3)
    frame = [rng.integers(0, 4096, (count, 5)).astype(np.uint16) for count in (4, 0, 1)]
    words = np.frombuffer(encode_frame(frame, nms), np.uint64)
    assert words.nbytes % nms.transfer_bytes == 0
    (seen,) = NmsReader(nms, "boxes").feed(words.reshape(-1, nms.transfer_bytes // 8))
    for got, want in zip(raw_boxes(seen), frame, strict=True):
        np.testing.assert_array_equal(got, want)
