import numpy as np
import pytest

from drawn_video import draw_video
from napari_pml import BACKGROUND, Session, open_video
from napari_pml.methods import reference_map as module
from napari_pml.methods.reference_map import reference_map


@pytest.fixture
def session(drawn, colour_embedder):
    return Session(open_video(drawn[0]), embedder=colour_embedder)


def strokes() -> np.ndarray:
    """On frame 0: object 1 on the red disc, object 2 on the blue square, background between them."""
    labels = np.zeros((96, 128), np.uint16)
    labels[56:64, 24:40] = 1
    labels[16:24, 96:104] = 2
    labels[88:96, 64:128] = BACKGROUND
    return labels


def made(session):
    columns, n_frames = session.embeddings.grid[1], len(session.video)
    return reference_map(session.reference_pixels(), session.embeddings.cell, columns, n_frames)


def test_the_reference_pixels_are_those_of_the_present_annotations(session):
    assert session.reference_pixels() is None
    session.annotate(0, strokes())
    session.segment(0)
    first = session.reference_pixels()
    session.segment(3)
    assert session.reference_pixels() is first
    session.annotate(3, strokes() == 2)
    session.segment(3)
    assert set(session.reference_pixels().frames.tolist()) == {0, 3}
    for t in (0, 3):
        session.annotate(t, np.zeros((96, 128), int))
    assert session.reference_pixels() is None


def test_every_painted_cell_is_a_point_that_says_where_it_comes_from(session):
    session.annotate(2, strokes())
    session.segment(2)
    points = made(session)
    painted = {
        (int(label), *pixel)
        for label, pixel in zip(points.labels[points.painted], points.pixels[points.painted].tolist(), strict=True)
    }
    assert painted == {
        (1, 59.5, 27.5), (1, 59.5, 35.5), (2, 19.5, 99.5), *((BACKGROUND, 91.5, x + 3.5) for x in range(64, 128, 8)),
    }  # fmt: skip
    assert set(points.frames.tolist()) == {2}
    assert set(points.labels[~points.painted].tolist()) == {BACKGROUND}


def test_alike_pixels_lie_together(session):
    session.annotate(0, strokes())
    session.segment(0)
    points = made(session)
    places = {n: points.positions[points.labels == n] for n in (1, 2, BACKGROUND)}
    centres = {n: place.mean(0) for n, place in places.items()}
    for n, place in places.items():
        distances = {m: np.hypot(*(place - centre).T) for m, centre in centres.items()}
        assert all((distances[n] < distances[m]).all() for m in centres if m != n)


def test_a_complete_frame_is_sampled_and_strokes_are_kept(session, drawn, monkeypatch):
    monkeypatch.setattr(module, "MAX_POINTS", 40)
    session.annotate(0, drawn[1][0], complete=True)
    session.annotate(5, strokes() == 2)
    session.segment(5)
    points = made(session)
    assert len(points) == 40
    assert points.frames[points.painted].tolist() == [5]
    assert points.painted[-1]
    assert set(points.labels.tolist()) == {1, 2, BACKGROUND}


def test_pixels_of_another_video_belong_to_no_frame_of_this_one(session, colour_embedder):
    frames, masks = draw_video(30, 192, 256)
    other = Session(open_video(frames), embedder=colour_embedder)
    other.annotate(20, masks[20], complete=True)
    session.transfer_from(other)
    session.annotate(2, strokes())
    session.segment(3)
    points = made(session)
    assert set(points.frames.tolist()) == {-1, 2}
    here = points.frames == 2
    assert (points.pixels[here] < (96, 128)).all()
    assert np.isnan(points.pixels[~here]).all()
