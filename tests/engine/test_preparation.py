"""Frames are embedded before anybody asks for them."""

import pytest

from napari_pml import Session, open_video


@pytest.fixture
def session(drawn, colour_embedder):
    return Session(open_video(drawn[0]), embedder=colour_embedder)


def embedded(session) -> set[int]:
    return {t for t in range(8) if t in session.embeddings}


def test_outward_from_the_frame_in_view_one_at_a_time(session):
    preparation = session.prepare(3)
    assert next(preparation) == (1, 8)
    assert next(preparation) == (2, 8)
    assert embedded(session) == {3, 4}
    assert next(preparation) == (3, 8)
    assert embedded(session) == {2, 3, 4}


def test_only_what_is_missing(session, colour_embedder):
    _ = session.embeddings[0]
    assert list(session.prepare(0))[-1] == (8, 8)
    assert colour_embedder.calls == 8
    assert list(session.prepare(5)) == []


def test_only_as_many_as_there_is_room_for_and_the_nearest_stay(session, colour_embedder):
    one = session.embeddings[0].nbytes // 2  # kept as float16
    session.embeddings.memory.max_bytes = 3 * one
    assert list(session.prepare(0))[-1] == (3, 3)
    assert embedded(session) == {0, 1, 2}
    assert list(session.prepare(2))[-1] == (3, 3)
    assert embedded(session) == {1, 2, 3}
    assert colour_embedder.calls == 4
