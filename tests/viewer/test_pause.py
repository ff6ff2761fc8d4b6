"""Pause and resume, and what is done when nobody wants anything; without a window."""

from types import SimpleNamespace

import pytest

from actions import begin, finished, shown, stroke
from napari_pml.viewer.panel.hints import status
from stand_ins import FakeConfig

pytestmark = pytest.mark.usefixtures("fake_engine")


@pytest.fixture
def paused(controller, runner):
    begin(controller)
    runner.hold = True
    controller.propagate()
    runner.step()
    runner.step()
    controller.jobs.pause()
    runner.hold = False
    return controller


def test_a_pause_keeps_finished_frames_and_resuming_does_the_rest(paused):
    assert paused.jobs.paused
    assert not paused.jobs.propagating
    assert finished(paused) == {0, 1, 2}
    paused.propagate()
    assert not paused.jobs.paused
    assert finished(paused) == set(range(6))


def test_painting_during_a_pause_segments_the_frame_in_view_and_resuming_the_rest(paused, viewer, movie):
    stroke(viewer, 2, 0, 19, 25)
    assert finished(paused) == {0}
    assert (shown(viewer, 0) == 2).any()
    assert paused.jobs.paused
    assert paused.jobs.progress.counted == "1 of 6 frames"
    paused.propagate()
    assert finished(paused) == set(range(6))
    assert all(((shown(viewer, t) == 2) == (movie[t] == 80)).all() for t in range(6))


def test_another_video_has_nothing_to_resume(paused, viewer, movie):
    viewer.add_image(movie, name="other")
    paused.choose_image(viewer.layers["other"])
    assert not paused.jobs.paused


def test_the_text_says_how_fast_and_how_long(paused, monkeypatch):
    progress = paused.jobs.progress
    monkeypatch.setattr("napari_pml.viewer.jobs.progress.time.monotonic", lambda: progress.started + 4)
    progress.at_start, progress.done, progress.total = 0, 2, 100
    assert str(progress) == "2 of 100 frames, 0.5 per second, 3 min 16 s left"


def test_pace_and_count_are_those_of_the_present_job(controller, runner, monkeypatch):
    now = [0.0]
    monkeypatch.setattr("napari_pml.viewer.jobs.progress.time.monotonic", lambda: now[0])
    begin(controller)
    controller.propagate()
    runner.hold = True
    controller.configure(FakeConfig(invert=True))
    controller.propagate()
    assert str(controller.jobs.progress) == "0 of 6 frames"
    now[0] = 100.0  # learned until then
    for done in (1, 2, 3):
        runner.step()
        now[0] += 2
        assert controller.jobs.progress.counted == f"{done} of 6 frames"
    assert str(controller.jobs.progress) == "3 of 6 frames, 0.3 per second, 9 s left"
    controller.configure(FakeConfig(k=7))
    runner.step()
    assert str(controller.jobs.progress) == "1 of 6 frames"
    controller.jobs.pause()
    runner.hold = False
    for t in (1, 2, 3):
        now[0] += 1000
        controller.viewer.dims.set_point(0, t)
    assert str(controller.jobs.progress) == "4 of 6 frames"


@pytest.fixture
def preparing(controller, runner):
    """Nobody has done anything for a while after the first strokes, and one frame has been prepared."""
    begin(controller)
    runner.hold = True
    runner.quiet()
    runner.step()
    return controller


def test_frames_are_prepared_around_the_one_in_view_when_things_are_quiet(controller, viewer, runner):
    begin(controller)
    viewer.dims.set_point(0, 4)
    session = controller.document.session
    assert session.prepared == []
    runner.quiet()
    assert session.prepared == [4] * 6


def test_the_status_says_so(preparing, runner):
    assert status(preparing) == "CPU, fake; preparing frames: 1 of 6"
    runner.hold = False
    while runner.busy:
        runner.step()
    assert status(preparing) == "CPU, fake"


def test_a_frame_that_was_prepared_when_a_propagation_began_does_not_count_any_more(preparing, runner):
    _, late, _ = runner._task
    preparing.propagate()
    late((2, 6))
    assert status(preparing) == "CPU, fake"


@pytest.mark.parametrize("deed", ["stroke", "scrub", "press", "propagate", "close"])
def test_preparation_gives_way_to_whatever_a_person_does(preparing, viewer, runner, deed):
    session = preparing.document.session
    runner.hold = False
    if deed == "stroke":
        stroke(viewer, 2, 0, 19, 25)
        assert (shown(viewer, 0) == 2).any()
    elif deed == "scrub":
        viewer.dims.set_point(0, 3)
        assert finished(preparing) == {0, 3}
    elif deed == "press":
        for callback in viewer.mouse_drag_callbacks:
            callback(viewer, SimpleNamespace())
    elif deed == "propagate":
        preparing.propagate()
        assert finished(preparing) == set(range(6))
    else:
        preparing.close()
    assert not runner.busy
    assert session.prepared == [0]
    assert preparing.jobs.preparation.progress is None


def test_preparation_goes_on_where_the_person_looks_then(preparing, viewer, runner):
    viewer.dims.set_point(0, 3)
    runner.hold = False
    while runner.busy:
        runner.step()
    runner.quiet()
    assert preparing.document.session.prepared == [0] + [3] * 6


def test_nothing_is_prepared_before_something_is_drawn(controller, viewer, runner):
    viewer.dims.set_point(0, 3)
    runner.quiet()
    assert not runner.busy
    assert controller.document.session is None
