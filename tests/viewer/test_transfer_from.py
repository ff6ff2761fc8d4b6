"""What is annotated on one video counts for another."""

import numpy as np
import pytest
from qtpy.QtWidgets import QFileDialog

from actions import begin, finished, shown
from drawn_video import ColourEmbedder, jaccard
from napari_pml import Project, Session, open_video
from napari_pml.errors import AnnotationError
from napari_pml.viewer.control import objects
from napari_pml.viewer.control.controller import Controller
from napari_pml.viewer.document.documents import open_projects
from napari_pml.viewer.panel.transfer_button import TransferButton


@pytest.fixture
def movie(movie):
    """The film so large that its pixels are cells."""
    return movie.repeat(8, 1).repeat(8, 2)


@pytest.fixture
def label():
    """The number of the bright square in the other video."""
    return 1


@pytest.fixture
def other(movie, tmp_path, label):
    """The path of a project of the same film played backwards; the bright square is an object called "paw"."""
    frames = movie[::-1].copy()
    video = open_video(frames)
    project = Project.create(tmp_path / "other.pml.zarr", video)
    session = Session(video, embedder=ColourEmbedder(), project=project)
    session.annotate(0, np.where(frames[0] == 200, label, 0), complete=True)
    project.note(names={label: "paw"})
    project.flush()
    project.close()
    return project.path


@pytest.fixture
def engine(monkeypatch, movie):
    """The real session without a network; the other video is found wherever the project lies."""
    monkeypatch.setattr(
        "napari_pml.Session", lambda video, **options: Session(video, embedder=ColourEmbedder(), **options)
    )
    monkeypatch.setattr(Project, "open_video", lambda project: open_video(movie[::-1].copy()))


def test_without_a_stroke_the_whole_video_is_segmented(engine, controller, viewer, movie, other):
    controller.transfer_from(other)
    controller.propagate()
    assert finished(controller) == set(range(6))
    for t in range(6):
        assert jaccard(shown(viewer, t) == 1, movie[t] == 200) > 0.9
    assert controller.document.names == {1: "paw"}
    assert controller.document.objects == {1}
    Project.open(other).close()  # it is free again


def test_what_was_learned_is_forgotten_again(engine, controller, viewer, movie, other):
    begin(controller)
    alone = shown(viewer, 0).copy()
    controller.transfer_from(other)
    assert controller.document.session.transferred is not None
    controller.transfer_from(None)
    assert controller.document.session.transferred is None
    np.testing.assert_array_equal(shown(viewer, 0), alone)


@pytest.mark.parametrize("label", [2])
@pytest.mark.parametrize("change", [objects.delete, objects.merge])
def test_what_was_learned_stays_until_it_is_forgotten(engine, controller, viewer, other, change):
    begin(controller)
    controller.transfer_from(other)
    with pytest.raises(AnnotationError, match=r"Object 2 comes from another video.*Forget transferred references"):
        change(controller.document, {1, 2})
    assert controller.document.objects == {1, 2}
    assert controller.document.session.annotations.object_ids == (1,)
    assert objects.begin(controller.document) == 3
    controller.transfer_from(None)
    change(controller.document, {1, 2})
    assert controller.document.objects <= {1}


@pytest.mark.parametrize("label", [2])
def test_what_was_learned_is_known_when_the_panel_is_opened_again(engine, controller, viewer, runner, other):
    controller.transfer_from(other)
    controller.close()
    again = Controller(viewer, runner)
    again.choose_image(viewer.layers["clip"])
    assert again.document.objects == {1, 2}


def test_a_project_that_is_open_in_this_window_may_teach(engine, controller, viewer, movie):
    begin(controller)
    first = controller.document.session
    first.annotate(0, (movie[0] == 200).astype(np.uint16), complete=True)
    viewer.add_image(movie[::-1].copy(), name="back")
    controller.choose_image(viewer.layers["back"])
    controller.transfer_from(first.project.path)
    assert open_projects(viewer.layers)[first.project.path] is first
    assert controller.document.session.transferred is not None
    assert jaccard(np.asarray(viewer.layers["back masks"].data[0]) == 1, movie[5] == 200) > 0.9


def test_the_button_asks_learns_and_forgets(engine, controller, other, qtbot, monkeypatch):
    asked = iter(["", str(other)])
    monkeypatch.setattr(QFileDialog, "getExistingDirectory", lambda *_: next(asked))
    button = TransferButton(controller)
    qtbot.add_widget(button)
    button.click()  # the person cancels
    assert controller.document.session is None
    button.click()
    button.refresh()
    assert button.text() == "Forget transferred references"
    button.click()
    button.refresh()
    assert button.text() == "Transfer references..."
    assert controller.document.session.transferred is None


def test_a_folder_that_is_no_project_is_explained(engine, controller, runner, tmp_path):
    begin(controller)
    with pytest.raises(Exception, match="is no project"):
        controller.transfer_from(tmp_path)
    assert controller.document.session.transferred is None
