"""What the timeline knows about frames, without a window."""

import numpy as np
import pytest

from actions import begin, stroke
from napari_pml.types import PREVIEW_REVISION, FrameMask
from napari_pml.viewer.document.overview import Overview, State

pytestmark = pytest.mark.usefixtures("fake_engine")


def test_the_state_of_every_frame(controller, viewer):
    begin(controller)
    controller.mark_complete(True)
    viewer.dims.set_point(0, 3)
    stroke(viewer, 1, 3, 8, 12)
    session = controller.document.session
    session.masks.put(FrameMask(4, np.zeros((24, 40), np.uint16), np.full((3, 5), 0.5, np.float32), PREVIEW_REVISION))
    overview = Overview.of(session)
    none, guess, outdated, done = State
    assert overview.states.tolist() == [outdated, none, none, done, guess, none]
    np.testing.assert_allclose(overview.certainties[[0, 3, 4]], [1, 1 / 4, 1 / 2], atol=1 / 255)
    assert np.isnan(overview.certainties[[1, 2, 5]]).all()
    assert np.flatnonzero(overview.annotated).tolist() == [0, 3]
    assert np.flatnonzero(overview.complete).tolist() == [0]


def test_more_frames_than_columns_show_what_needs_attention():
    n = 10_000
    states, certainties = np.full(n, State.DONE, np.uint8), np.ones(n, np.float32)
    annotated, complete = np.zeros((2, n), bool)
    states[4321], certainties[4321], certainties[4322], annotated[9999] = State.NONE, np.nan, 0.25, True
    columns = Overview(states, certainties, annotated, complete, ~annotated).in_columns(300)
    column = 4321 * 300 // n
    assert np.flatnonzero(columns.states != State.DONE).tolist() == [column]
    assert np.flatnonzero(columns.certainties != 1).tolist() == [column]
    assert columns.certainties[column] == 0.25
    assert np.flatnonzero(columns.annotated).tolist() == [299]
    assert not columns.complete.any()
    assert columns.damaged.all()


def test_fewer_frames_than_columns_are_repeated():
    known = np.array([True, False, True])
    columns = Overview(np.array([3, 0, 1], np.uint8), np.array([1, np.nan, 0.5], np.float32), known, ~known, known)
    wide = columns.in_columns(7)
    assert wide.states.tolist() == [3, 3, 3, 0, 0, 1, 1]
    assert wide.complete.tolist() == [False, False, False, True, True, False, False]
