"""Work is saved without asking, and found again: after a crash, in another place, or dropped into napari."""

import os
import signal
import subprocess
import sys
import threading
from concurrent.futures import wait
from pathlib import Path

import numpy as np
import pytest
from PIL import Image as PilImage
from qtpy.QtCore import QEvent
from qtpy.QtWidgets import QApplication, QFileDialog

import killed_window
from actions import begin, finished, stroke
from drawn_video import ColourEmbedder
from napari_pml import Project, Session, open_video
from napari_pml.store.masks import MaskStore
from napari_pml.types import BACKGROUND
from napari_pml.viewer.colours import colour_of
from napari_pml.viewer.contributions.project_reader import read_project
from napari_pml.viewer.control import objects
from napari_pml.viewer.control.controller import Controller
from napari_pml.viewer.control.projects import Projects
from napari_pml.viewer.document import autosave
from stand_ins import Runner

PATIENCE_MS = 60_000


@pytest.fixture
def quick_engine(monkeypatch):
    """The real session, with an embedder that needs no network."""
    monkeypatch.setattr(
        "napari_pml.Session", lambda video, **options: Session(video, embedder=ColourEmbedder(), **options)
    )


@pytest.fixture
def projects(controller, runner) -> Projects:
    projects = Projects(controller, runner)
    projects.look()
    return projects


def after_a_crash(viewer, movie) -> Projects:
    """The same video in another window; the lock of a process that died is free."""
    viewer.layers.remove("clip")  # first, so that the removal of strokes says nothing about the video
    viewer.layers.clear()
    viewer.add_image(movie, name="clip")
    runner = Runner()
    controller = Controller(viewer, runner)
    controller.choose_image(viewer.layers["clip"])
    projects = Projects(controller, runner)
    projects.look()
    return projects


@pytest.fixture
def crashed(quick_engine, controller, movie):
    """Strokes, points, shapes and masks of all frames were made, then the window was gone."""
    viewer = controller.viewer
    begin(controller)
    controller.choose_label(2)
    controller.draw_with("points")
    viewer.layers["clip points"].add([[0, 19, 25]])
    controller.draw_with("shapes")
    viewer.layers["clip shapes"].add([[3, 17, 22], [3, 17, 28], [3, 21, 28], [3, 21, 22]], shape_type="rectangle")
    controller.propagate()
    session = controller.document.session
    session.project.close()
    controller.close()
    return session


def test_the_first_stroke_is_saved_without_asking(quick_engine, controller, data_home):
    begin(controller)
    (saved,) = autosave.find((6, 24, 40))
    assert saved.path.parent == data_home
    assert saved.path.name.startswith("clip ")
    session = controller.document.session
    session.project.close()
    project = Project.open(saved.path)
    np.testing.assert_array_equal(project.annotations.frames[0], session.annotations.frames[0])


def test_nothing_is_offered_for_a_video_that_is_new(quick_engine, projects):
    assert projects.offer is None


def test_what_was_opened_but_never_annotated_is_removed(quick_engine, controller, viewer, data_home, movie):
    controller.choose_label(1)  # opens the session
    assert len(list(data_home.iterdir())) == 1
    controller.document.session.project.close()
    projects = after_a_crash(viewer, movie)
    assert projects.offer is None
    begin(projects._controller)
    assert len(list(data_home.iterdir())) == 1


def test_everything_comes_back_as_it_was_drawn(crashed, viewer, movie):
    projects = after_a_crash(viewer, movie)
    assert projects.offer.path == crashed.project.path
    projects.restore()
    controller = projects._controller
    assert projects.offer is None
    assert [layer.name for layer in viewer.layers] == [
        "clip", "clip masks", "clip strokes", "clip shapes", "clip points"
    ]  # fmt: skip
    session = controller.document.session
    assert session.annotations.revision == crashed.annotations.revision
    assert finished(controller) == set(range(6))
    assert viewer.layers["clip points"].features["label"].tolist() == [2]
    np.testing.assert_allclose(viewer.layers["clip points"].face_color[0], colour_of(2))
    assert viewer.layers["clip shapes"].shape_type == ["rectangle"]
    assert controller.document.objects == {1, 2}
    np.testing.assert_array_equal(viewer.layers["clip masks"].data[:], crashed.masks.labels[:])
    assert viewer.layers.selection.active is viewer.layers["clip strokes"]
    assert (controller.tool, viewer.layers["clip strokes"].mode) == ("brush", "paint")
    viewer.layers["clip points"].data = []
    assert not (session.annotations.frames[0] == 2).any()
    assert session.project.path == crashed.project.path


def test_earlier_work_on_a_video_that_cannot_be_read_is_not_looked_for(crashed, viewer, movie):
    class Unreadable:
        shape, dtype, ndim = movie.shape, movie.dtype, 3

        def __getitem__(self, key):
            if np.size(np.arange(6)[key[0] if isinstance(key, tuple) else key]) != 1 or np.ravel(key)[0] == 2:
                raise OSError("the disk is gone")
            return movie[key]

    assert after_a_crash(viewer, Unreadable()).offer is None


def test_complete_frames_come_back(quick_engine, controller, viewer, movie):
    begin(controller)
    controller.mark_complete(True)
    controller.document.session.project.close()
    projects = after_a_crash(viewer, movie)
    projects.restore()
    assert projects._controller.document.complete == {0}
    assert projects._controller.document.session.annotations.complete == {0}


def test_names_come_back(quick_engine, controller, viewer, movie):
    begin(controller)
    objects.rename(controller.document, 1, "left paw")
    controller.flush_soon()
    controller.document.session.project.close()
    projects = after_a_crash(viewer, movie)
    projects.restore()
    assert projects._controller.document.names == {1: "left paw"}


def test_colours_come_back(quick_engine, controller, viewer, movie):
    begin(controller)
    objects.recolour(controller.document, [1], (0.0, 1.0, 0.2, 1.0))
    controller.flush_soon()
    controller.document.session.project.close()
    projects = after_a_crash(viewer, movie)
    projects.restore()
    assert projects._controller.document.appearance.colour(1) == (0.0, 1.0, 0.2, 1.0)
    for name in ("clip strokes", "clip masks"):
        np.testing.assert_allclose(viewer.layers[name].get_color(1), (0.0, 1.0, 0.2, 1.0), atol=1e-6)


def test_what_was_drawn_before_restoring_stays(crashed, viewer, movie):
    projects = after_a_crash(viewer, movie)
    begin(projects._controller)
    meanwhile = projects._controller.document.session
    projects.restore()
    assert projects._controller.document.session.project.path == crashed.project.path
    assert not viewer.layers["clip strokes"].visible
    assert (viewer.layers["clip strokes"].data[0] == 1).any()
    np.testing.assert_array_equal(Project.open(meanwhile.project.path).annotations.frames[0],
                                  meanwhile.annotations.frames[0])  # fmt: skip


def test_another_video_of_the_same_size_is_not_offered_the_work(crashed, viewer, movie):
    assert after_a_crash(viewer, movie[::-1].copy()).offer is None
    changed = movie.copy()
    changed[4] = changed[3]
    assert after_a_crash(viewer, changed).offer is None


def test_work_that_is_open_elsewhere_is_not_offered(crashed, viewer, movie):
    project = Project.open(crashed.project.path)
    assert after_a_crash(viewer, movie).offer is None
    project.close()


def test_the_project_moves_to_a_place_of_choice(quick_engine, controller, projects, tmp_path, data_home, movie):
    begin(controller)
    projects.save_as(tmp_path / "mine.pml.zarr")
    session = controller.document.session
    assert session.project.path == tmp_path / "mine.pml.zarr"
    assert list(data_home.glob("*.pml.zarr")) == []
    assert controller.document.masks.data.session is session
    stroke(controller.viewer, 1, 4, 8, 18)
    assert session.project.record.frames.keys() == {0, 4}
    assert not projects.saving
    session.project.close()
    assert after_a_crash(controller.viewer, movie).offer.path == tmp_path / "mine.pml.zarr"


def test_a_disk_that_refuses_does_not_stop_the_work(quick_engine, controller, data_home, monkeypatch):
    warnings = []
    monkeypatch.setattr("napari_pml.viewer.document.autosave.show_warning", warnings.append)
    data_home.write_text("a file where a folder should be")
    begin(controller)
    assert controller.document.session.project is None
    assert 0 in finished(controller)
    assert len(warnings) == 1
    assert "not being saved" in warnings[0]


@pytest.fixture
def dropped(tmp_path, movie):
    """A project beside the video that it belongs to."""
    (tmp_path / "clip").mkdir()
    for t, frame in enumerate(movie):
        PilImage.fromarray(frame).save(tmp_path / f"clip/{t}.png")
    video = open_video(tmp_path / "clip")
    session = Session(video, embedder=ColourEmbedder(), project=Project.create(tmp_path / "cat.pml.zarr", video))
    session.annotate(1, np.where(movie[1] == 200, 1, 0), complete=True)
    list(session.propagate())
    session.project.close()
    return session


def test_a_dropped_project_goes_on(quick_engine, dropped, make_napari_viewer, qtbot):
    viewer = make_napari_viewer()
    _, panel = viewer.window.add_plugin_dock_widget("napari-pml")
    viewer.open(dropped.project.path, plugin="napari-pml")
    assert [layer.name for layer in viewer.layers] == ["clip", "clip masks", "clip strokes"]
    qtbot.wait_until(lambda: panel.controller.document.session is not None, timeout=PATIENCE_MS)
    qtbot.wait_until(lambda: not panel.controller.document.is_dirty, timeout=PATIENCE_MS)
    document = panel.controller.document
    assert document.session.annotations.revision == dropped.annotations.revision
    assert document.complete == {1}
    assert document.frames_done == 6
    np.testing.assert_array_equal(viewer.layers["clip masks"].data[:], dropped.masks.labels[:])
    assert len(viewer.layers) == 3
    assert not any(button.isChecked() for button in panel._tool_buttons.values())  # a drag moves the picture


def test_a_dropped_project_without_its_video_asks_for_it(quick_engine, dropped, tmp_path, monkeypatch, viewer, movie):
    warnings = []
    monkeypatch.setattr("napari_pml.viewer.contributions.project_reader.show_warning", warnings.append)
    (tmp_path / "clip").rename(tmp_path / "moved")
    assert read_project(str(dropped.project.path)) == [(None,)]
    assert "not there any more" in warnings[0]
    projects = after_a_crash(viewer, movie)
    assert projects.offer.path == dropped.project.path


def test_a_folder_that_is_no_project_is_reported(tmp_path, monkeypatch):
    errors = []
    monkeypatch.setattr("napari_pml.viewer.contributions.project_reader.show_error", errors.append)
    (tmp_path / "odd.pml.zarr").mkdir()
    assert read_project(str(tmp_path / "odd.pml.zarr")) == [(None,)]
    assert "no project" in errors[0]


@pytest.mark.parametrize("closed", ["panel", "window"])
def test_closing_takes_nothing_away(quick_engine, make_napari_viewer, movie, qtbot, closed):
    viewer = make_napari_viewer()
    viewer.add_image(movie, name="clip")
    viewer.dims.set_point(0, 0)
    _, panel = viewer.window.add_plugin_dock_widget("napari-pml")
    controller = panel.controller
    controller.choose_label(1)
    stroke(viewer, 1, 0, 8, 6)
    qtbot.wait_until(
        lambda: controller.document.session is not None and not controller.document.is_dirty, timeout=PATIENCE_MS
    )
    session = controller.document.session
    if closed == "window":
        viewer.close()  # napari removes all layers first
        assert session.project.record.frames.keys() == {0}
    else:
        stroke(viewer, BACKGROUND, 3, 14, 6)
        viewer.window.remove_dock_widget(panel)  # at once
        assert session.project.record.frames.keys() == {0, 3}


@pytest.mark.parametrize("closed", ["window", "viewer", "video"])
def test_work_is_offered_again_in_the_same_process(quick_engine, make_napari_viewer, movie, qtbot, closed):
    def opened():
        viewer = make_napari_viewer()
        viewer.add_image(movie, name="clip")
        _, panel = viewer.window.add_plugin_dock_widget("napari-pml")
        return viewer, panel

    viewer, panel = opened()
    controller = panel.controller
    begin(controller)
    qtbot.wait_until(
        lambda: controller.document.session is not None and not controller.document.is_dirty, timeout=PATIENCE_MS
    )
    session, image = controller.document.session, viewer.layers["clip"]  # alive as long as somebody knows it
    if closed == "viewer":
        viewer.close()
    elif closed == "window":
        panel.deleteLater()  # Qt does so when a person closes its window
        QApplication.sendPostedEvents(panel, QEvent.Type.DeferredDelete)
    else:
        viewer.layers.remove(image)
        viewer.layers.clear()
    _, again = opened()
    qtbot.wait_until(lambda: again.projects.offer is not None, timeout=PATIENCE_MS)
    assert again.projects.offer.path == session.project.path
    assert again.projects.offer.record.frames.keys() == {0}


@pytest.mark.skipif(sys.platform == "win32", reason="needs SIGKILL")
def test_a_window_is_killed_and_the_work_goes_on(make_napari_viewer, movie, tmp_path, qtbot, monkeypatch):
    np.save(tmp_path / "movie.npy", movie)
    home = tmp_path / "home"
    environment = os.environ | {"XDG_DATA_HOME": str(home), "PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run(
        [sys.executable, killed_window.__file__, tmp_path / "movie.npy"], env=environment, check=False
    )
    assert done.returncode == -signal.SIGKILL
    (path,) = home.rglob("*.pml.zarr")
    monkeypatch.setattr(autosave, "folder", lambda: path.parent)

    viewer = make_napari_viewer(show=True)
    viewer.add_image(movie, name="clip")
    _, panel = viewer.window.add_plugin_dock_widget("napari-pml")
    qtbot.wait_until(panel.restore.isVisible, timeout=PATIENCE_MS)
    assert panel.restore.text().startswith("Restore the work of ")
    panel.restore.click()
    controller = panel.controller
    qtbot.wait_until(
        lambda: controller.document is not None and controller.document.session is not None, timeout=PATIENCE_MS
    )
    qtbot.wait_until(lambda: not controller.document.is_dirty, timeout=PATIENCE_MS)
    session = controller.document.session
    assert not panel.restore.isVisible()
    assert session.annotations.frames.keys() == {0, 2, 3, 5}
    assert session.annotations.complete == {5}
    assert len(session.stale_frames()) <= 4  # some were finished before the kill
    assert {"clip masks", "clip strokes", "clip points", "clip shapes"} <= {layer.name for layer in viewer.layers}

    viewer.dims.set_point(0, 4)
    stroke(viewer, BACKGROUND, 4, 2, 36)
    panel.propagate.click()
    qtbot.wait_until(
        lambda: controller.document.frames_done == 6 and not controller.jobs.propagating, timeout=PATIENCE_MS
    )
    undisturbed = Session(open_video(movie))
    for t, labels in session.annotations.frames.items():
        undisturbed.annotate(t, labels, complete=t in session.annotations.complete)
    list(undisturbed.propagate())
    np.testing.assert_array_equal(session.masks.labels[:], undisturbed.masks.labels[:])


def test_the_button_saves_where_the_person_says(quick_engine, make_napari_viewer, movie, tmp_path, qtbot, monkeypatch):
    viewer = make_napari_viewer()
    viewer.add_image(movie, name="clip")
    _, panel = viewer.window.add_plugin_dock_widget("napari-pml")
    assert not panel.save.save.isEnabled()
    panel.controller.choose_label(1)
    qtbot.wait_until(panel.save.save.isEnabled, timeout=PATIENCE_MS)
    assert panel.save.place.text() == "Your work is saved automatically."
    monkeypatch.setattr(QFileDialog, "getSaveFileName", lambda *_: (str(tmp_path / "mine"), ""))
    panel.save.save.click()
    qtbot.wait_until(lambda: "mine.pml.zarr" in panel.save.place.text(), timeout=PATIENCE_MS)
    assert Path(tmp_path / "mine.pml.zarr").is_dir()


def test_work_that_is_under_way_when_other_work_is_restored_ends_in_silence(
    quick_engine, make_napari_viewer, movie, tmp_path, qtbot, monkeypatch
):
    """Its project is closed then; and what was drawn last is saved there."""
    errors, computing, closed = [], threading.Event(), threading.Event()
    monkeypatch.setattr("napari_pml.viewer.jobs.background.show_error", errors.append)
    viewer = make_napari_viewer()
    viewer.add_image(movie, name="clip")
    viewer.dims.set_point(0, 0)
    _, panel = viewer.window.add_plugin_dock_widget("napari-pml")
    controller = panel.controller
    begin(controller)
    qtbot.wait_until(lambda: controller.document.masks is not None, timeout=PATIENCE_MS)
    put = MaskStore.put

    def put_late(store, mask):
        computing.set()
        assert closed.wait(PATIENCE_MS / 1000)
        put(store, mask)

    monkeypatch.setattr(MaskStore, "put", put_late)
    session = controller.document.session
    controller.go_to(3)
    qtbot.wait_until(computing.is_set, timeout=PATIENCE_MS)
    controller.draw_with("points")
    viewer.layers["clip points"].add([[4, 19, 25]])
    controller.forget(controller.document)
    Project.open(session.project.path).close()  # nobody has it any more
    closed.set()
    wait([panel.background._future])
    qtbot.wait(100)
    assert errors == []
    project = Project.open(session.project.path)
    assert project.annotations.frames.keys() == {0, 4}
    assert project.masks(session.masks.grid).finished == [0]
