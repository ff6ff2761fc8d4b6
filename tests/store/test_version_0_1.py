"""A project that version 0.1 made opens with all that was in it.

`version_0_1.zip` holds a clip as PNGs, the project of its strokes, points and shapes (k = 3, references of another
video, a name and a colour of object 1), and what version 0.1 said of its annotations and masks.
"""

import zipfile
from pathlib import Path

import numpy as np
import pytest

from drawn_video import ColourEmbedder
from napari_pml import PmlConfig, Project, Session


@pytest.fixture
def made(tmp_path) -> Path:
    with zipfile.ZipFile(Path(__file__).with_name("version_0_1.zip")) as archive:
        archive.extractall(tmp_path)
    return tmp_path


def test_annotations_masks_and_settings_are_there(made):
    project = Project.open(made / "shapes.pml.zarr")
    with np.load(made / "expected.npz") as expected:
        assert set(project.annotations.frames) == {0, 2, 3}
        for t, labels in project.annotations.frames.items():
            np.testing.assert_array_equal(labels, expected[f"frame{t}"])
        session = Session(project.open_video(), project=project, embedder=ColourEmbedder())
        np.testing.assert_array_equal(session.masks.labels[:], expected["masks"])
    assert session.config == PmlConfig(k=3)
    assert session.object_ids == (1, 2, 3), "object 3 is one of another video"
    assert project.record.names == {1: "disc"}
    assert project.record.colours == {1: (255, 128, 0)}
    assert [drawing["kind"] for drawing in project.record.drawings] == ["points", "shapes"]


def test_it_goes_on(made):
    project = Project.open(made / "shapes.pml.zarr")
    session = Session(project.open_video(), project=project, embedder=ColourEmbedder())
    labels = np.array(session.annotations.frames[0])
    labels[20, 30] = 2
    session.annotate(0, labels)
    assert len({mask.t for mask in session.propagate()}) == 5
    project.close()
    assert Project.open(made / "shapes.pml.zarr").annotations.frames[0][20, 30] == 2
