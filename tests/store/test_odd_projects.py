"""Damaged, foreign and malicious projects: the work, or an error that says what to do; never other masks."""

import json
import shutil
import warnings
from contextlib import suppress

import numpy as np
import pytest
import zarr
from hypothesis import given, settings
from hypothesis import strategies as st

from drawn_video import ColourEmbedder, draw_video
from napari_pml import Session, open_video
from napari_pml.errors import ExportError, PmlError, ProjectError
from napari_pml.store.project import Project
from odd import damaged, says_what_to_do

FRAMES, MASKS = draw_video(4, 24, 32)
MASKS = MASKS | 1
VIDEO = open_video(FRAMES)

JSON = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-3, 9),
    st.sampled_from([10**30, 1.5, float("nan"), "", "x", "../../x", "/etc/passwd", "a\0b", "9"]),
    st.lists(st.one_of(st.integers(-3, 9), st.text(max_size=2)), max_size=3),
    st.dictionaries(st.sampled_from(["0", "2", "9", "-1", "x", "settings"]), st.one_of(st.none(), st.integers(-1, 3))),
)


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A project with two annotated frames and all masks."""
    path = tmp_path_factory.mktemp("whole") / "whole.pml.zarr"
    session = Session(VIDEO, embedder=ColourEmbedder(), project=Project.create(path, VIDEO))
    session.annotate(0, MASKS[0], complete=True)
    strokes = np.zeros((24, 32), np.uint16)
    strokes[3:5, 4:9] = 2
    session.annotate(2, strokes)
    session.project.note(names={1: "disc"}, colours={1: (9, 8, 7)}, drawings=({"kind": "points"},))
    list(session.propagate())
    session.project.close()
    return path


@pytest.fixture
def path(whole, tmp_path):
    shutil.copytree(whole, tmp_path / "copy.pml.zarr")
    return tmp_path / "copy.pml.zarr"


def go_on(path) -> bool:
    """Whether work goes on, and its masks are those of its annotations; errors are PmlErrors that end in a sentence."""
    try:
        project = Project.open(path)
    except ProjectError as error:
        says_what_to_do(error)
        return False
    try:
        session = Session(VIDEO, embedder=ColourEmbedder(), project=project)
        if session.annotations.frames:
            list(session.propagate(1))
        session.annotate(1, MASKS[1], complete=True)
        project.flush()
        list(session.propagate())
        alone = Session(VIDEO, session.config, embedder=ColourEmbedder())
        for t, labels in session.annotations.frames.items():
            alone.annotate(t, labels, complete=t in session.annotations.complete)
        list(alone.propagate())
        np.testing.assert_array_equal(session.masks.labels[:], alone.masks.labels[:])
    except PmlError as error:
        says_what_to_do(error)
        return False
    finally:
        project.close()
    return True


def test_the_whole_project_goes_on(path):
    assert go_on(path)


FIELDS = [
    "format",
    "name",
    "path",
    "shape",
    "fingerprint",
    "revision",
    "frames",
    "complete",
    "names",
    "basis",
    "drawings",
    "later",
    "sizes",
    "channel_axis",
]
BASIS = ["settings", "embedder", "fingerprint", "method", "references"]


def test_records_with_other_values(whole, tmp_path):
    record = json.loads((whole / "zarr.json").read_text())

    @settings(max_examples=60)
    @given(st.sampled_from([*((name,) for name in FIELDS), *(("basis", name) for name in BASIS), ()]), JSON)
    def check(place, value):
        path = tmp_path / "copy.pml.zarr"
        shutil.rmtree(path, ignore_errors=True)
        shutil.copytree(whole, path)
        changed = json.loads(json.dumps(record))
        *outer, name = ("attributes", "napari-pml", *place)
        owner = changed
        for key in outer:
            owner = owner[key]
        owner[name] = value
        (path / "zarr.json").write_text(json.dumps(changed))
        go_on(path)

    check()


def test_damaged_files_in_a_project(whole, tmp_path):
    files = sorted(file.relative_to(whole) for file in whole.rglob("*") if file.is_file() and file.name != "lock")

    @settings(max_examples=40)
    @given(st.data())
    def check(data):
        path = tmp_path / "copy.pml.zarr"
        shutil.rmtree(path, ignore_errors=True)
        shutil.copytree(whole, path)
        file = path / data.draw(st.sampled_from(files))
        # zstd has no checksum: that flipped bits of an annotation still decode is not noticed, but that it is short is
        file.write_bytes(file.read_bytes()[: data.draw(st.integers(0, file.stat().st_size - 1))])
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # of what is lost
            go_on(path)

    check()


def test_damaged_records(path):
    content = (path / "zarr.json").read_bytes()

    @settings(max_examples=80)
    @given(damaged(content))
    def check(spoilt):
        (path / "zarr.json").write_bytes(spoilt)
        with suppress(ProjectError), warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # what it says of an annotation may be spoilt, too
            Project.open(path).close()

    check()


def test_a_damaged_mask_is_named_and_made_again(path):
    (path / "masks/labels/c.3.0.0").write_bytes(b"spoilt")
    (path / "masks/labels/c.0.0.0").unlink()  # reads as 0
    project = Project.open(path)
    session = Session(VIDEO, embedder=ColourEmbedder(), project=project)
    for t in (0, 3):
        with pytest.raises(ExportError, match=f"mask of frame {t} is damaged"):
            session.masks[t]
    assert session.stale_frames() == [0, 3]
    project.close()
    assert go_on(path)


@pytest.mark.parametrize(
    "file", ["zarr.json", "labels/zarr.json", "revision/zarr.json", "revision/c.0", "certainty/c.0", "checksum/c.0"]
)
def test_damaged_masks_are_set_aside(file, path):
    (path / "masks" / file).write_bytes(b"spoilt")
    project = Project.open(path)
    with pytest.warns(UserWarning, match="set aside"):
        session = Session(VIDEO, embedder=ColourEmbedder(), project=project)
    assert (path / "masks-damaged-1" / file).read_bytes() == b"spoilt"
    assert session.stale_frames() == [0, 1, 2, 3]
    project.close()
    assert go_on(path)


@pytest.fixture
def nine(tmp_path):
    """A project with nine annotated frames, of which one was annotated twice, and what is annotated there."""
    video = open_video(np.tile(FRAMES[:1], (9, 1, 1, 1)))
    path = tmp_path / "nine.pml.zarr"
    session = Session(video, embedder=ColourEmbedder(), project=Project.create(path, video))
    for t in range(9):
        session.annotate(t, MASKS[0] + np.uint16(t), complete=t % 2 == 0)
    session.annotate(4, MASKS[1] * 0, complete=True)  # empty, and no missing file
    before = dict(session.annotations.frames)
    session.annotate(2, MASKS[1])
    session.project.close()
    return path, before


def test_a_damaged_annotation_takes_nothing_else_with_it(nine):
    path, before = nine
    record = Project.open(path)
    record.close()
    places = record.record.frames
    for t in (2, 6, 8):
        file = path / f"annotations/c.{places[t]}.{t}.0.0"
        file.unlink() if t == 8 else file.write_bytes(b"spoilt")
    with pytest.warns(UserWarning, match=r"earlier one is used on frames 2, and there is none any more on frames 6, 8"):
        project = Project.open(path)
    found = project.annotations
    assert found.frames.keys() == set(range(9)) - {6, 8}
    assert found.complete == {0, 2, 4}  # the earlier one of frame 2 was complete
    for t, labels in found.frames.items():
        np.testing.assert_array_equal(labels, before[t])
    assert found.revision > record.annotations.revision
    project.close()
    again = Project.open(path)  # warned once
    assert again.annotations.frames.keys() == found.frames.keys()
    again.close()


def test_damaged_references_of_other_videos_are_named(path, tmp_path):
    other = Session(open_video(FRAMES[:, ::-1]), embedder=ColourEmbedder())
    other.annotate(0, MASKS[0][::-1], complete=True)
    project = Project.open(path)
    session = Session(VIDEO, embedder=ColourEmbedder(), project=project)
    session.transfer_from(other)
    project.close()
    group = zarr.open_group(path / "references", mode="r+")
    (name,) = group.group_keys()
    group[name].create_array("labels", data=np.full((3, 2), 7), overwrite=True)
    project = Project.open(path)
    with pytest.raises(ProjectError, match="damaged"):
        Session(VIDEO, embedder=ColourEmbedder(), project=project)
    project.close()


def test_what_is_no_project(path, tmp_path):
    archive = shutil.make_archive(str(tmp_path / "zip"), "zip", path)
    shutil.move(archive, tmp_path / "zip.pml.zarr")
    zarr.save_array(tmp_path / "array.pml.zarr", FRAMES)
    zarr.open_group(tmp_path / "v2.pml.zarr", mode="w", zarr_format=2)
    (tmp_path / "loop.pml.zarr").symlink_to(tmp_path / "loop.pml.zarr")
    (tmp_path / "nowhere.pml.zarr").symlink_to(tmp_path / "gone")
    for name in ("zip", "array", "v2", "loop", "nowhere", "x" * 400, "a\0b"):
        with pytest.raises(ProjectError):
            Project.open(tmp_path / f"{name}.pml.zarr")
        with pytest.raises(ProjectError):
            Project.create(tmp_path / (f"{name}.pml.zarr" if len(name) != 3 else path.name), VIDEO)
    assert not (tmp_path / "gone").exists()


def test_a_link_to_a_project_is_that_project(path, tmp_path):
    (tmp_path / "link.pml.zarr").symlink_to(path)
    assert go_on(tmp_path / "link.pml.zarr")
    project = Project.open(path)
    with pytest.raises(ProjectError, match="open in another"):
        Project.open(tmp_path / "link.pml.zarr")
    project.close()


def test_references_do_not_lead_out_of_the_project(path, tmp_path):
    zarr.open_group(tmp_path / "secret", mode="w").create_array("embeddings", data=np.zeros(3))
    record = json.loads((path / "zarr.json").read_text())
    record["attributes"]["napari-pml"]["basis"]["references"] = "../../secret"
    (path / "zarr.json").write_text(json.dumps(record))
    project = Project.open(path)
    with pytest.raises(ProjectError, match="damaged"):
        Session(VIDEO, embedder=ColourEmbedder(), project=project)
    project.close()
