import json
import os
import subprocess
import sys
import threading
import time
from pathlib import Path
from shutil import copyfile

import av
import numpy as np
import pytest
import zarr
from PIL import Image

import killed_work
from drawn_video import ColourEmbedder, draw_video, jaccard, write_video
from napari_pml import PmlConfig, Session, open_video
from napari_pml.embedding.weights import bundled, load_weights, save_weights
from napari_pml.errors import AnnotationError, ProjectError
from napari_pml.store.masks import MaskStore
from napari_pml.store.project import Project


@pytest.fixture
def path(tmp_path):
    return tmp_path / "drawn.pml.zarr"


@pytest.fixture
def session(path, drawn):
    """A session in a new project, with a complete frame 0 and a stroke on frame 5."""
    video = open_video(drawn[0])
    session = Session(video, embedder=ColourEmbedder(), project=Project.create(path, video))
    session.annotate(0, drawn[1][0], complete=True)
    session.annotate(5, stroke())
    return session


def stroke(label=1):
    labels = np.zeros((96, 128), np.uint16)
    labels[50:53, 40:50] = label
    return labels


def reopened(session, config=None, embedder=None):
    """Go on in another session, as after the end of the process."""
    session.project.close()
    project = Project.open(session.project.path)
    return Session(session.video, config, embedder=embedder or ColourEmbedder(), project=project)


def test_everything_is_found_again(session):
    session.config = PmlConfig(k=3)
    list(session.propagate())
    session.project.note(names={1: "disc"}, colours={1: (0, 128, 255)})
    session.project.flush()
    again = reopened(session)
    assert again.annotations.frames.keys() == {0, 5}
    for t, labels in session.annotations.frames.items():
        np.testing.assert_array_equal(again.annotations.frames[t], labels)
    assert again.annotations.complete == {0}
    assert again.project.record.names == {1: "disc"}
    assert again.project.record.colours == {1: (0, 128, 255)}
    assert again.config == PmlConfig(k=3)
    assert again.stale_frames() == []
    assert list(again.propagate()) == []
    np.testing.assert_array_equal(again.masks.labels[:], session.masks.labels[:])


def test_a_stroke_is_saved_at_once_and_makes_masks_stale(session):
    list(session.propagate())
    session.annotate(5, stroke(2))
    again = reopened(session)
    np.testing.assert_array_equal(again.annotations.frames[5], stroke(2))
    assert again.stale_frames() == list(range(8))


def test_an_annotation_taken_away_stays_away(session):
    session.annotate(5, np.zeros((96, 128), int))
    assert reopened(session).annotations.frames.keys() == {0}


@pytest.mark.parametrize("change", ["settings", "embedder"])
def test_masks_of_other_settings_or_another_embedder_are_stale(session, change):
    list(session.propagate())
    embedder = ColourEmbedder()
    if change == "embedder":
        embedder.fingerprint = "colour-2"
    again = reopened(session, PmlConfig(k=2) if change == "settings" else None, embedder)
    assert again.stale_frames() == list(range(8))
    list(again.propagate())
    assert reopened(again, embedder=embedder).stale_frames() == []


@pytest.mark.parametrize("killed_at", ["annotation", "record"])
def test_a_change_that_was_not_finished_has_not_happened(session, killed_at, monkeypatch):
    list(session.propagate())

    def killed(*_):
        raise KeyboardInterrupt

    if killed_at == "record":
        monkeypatch.setattr(Project, "_write", killed)
    else:
        monkeypatch.setattr(zarr.Array, "__setitem__", killed)
    with pytest.raises(KeyboardInterrupt):
        session.annotate(5, stroke(2))
    monkeypatch.undo()
    again = reopened(session)
    np.testing.assert_array_equal(again.annotations.frames[5], stroke(1))
    assert again.stale_frames() == []


def test_a_disk_that_refuses_is_told_and_nothing_is_lost(session, monkeypatch):
    def full(*_):
        raise OSError("No space left on device")

    monkeypatch.setattr(zarr.Array, "__setitem__", full)
    with pytest.raises(ProjectError, match="No space left"):
        session.annotate(3, stroke(2))
    monkeypatch.undo()
    assert 3 in session.annotations.frames
    session.segment(0)  # of a revision that the project has not seen
    assert reopened(session).stale_frames() == list(range(8))


def test_what_the_disk_refused_is_saved_with_the_next_stroke(session, monkeypatch):
    monkeypatch.setattr(zarr.Array, "__setitem__", lambda *_: (_ for _ in ()).throw(OSError("full")))
    with pytest.raises(ProjectError):
        session.annotate(3, stroke(2))
    monkeypatch.undo()
    session.annotate(6, stroke(1))
    again = reopened(session)
    assert again.annotations.frames.keys() == {0, 3, 5, 6}
    np.testing.assert_array_equal(again.annotations.frames[3], stroke(2))


def test_a_project_is_open_in_one_place_at_a_time(session, path):
    with pytest.raises(ProjectError, match="open in another"):
        Project.open(path)
    session.project.close()
    Project.open(path).close()


def test_a_project_is_that_of_one_session_at_a_time(session, path, tmp_path):
    project, video = session.project, session.video
    with pytest.raises(ProjectError, match="Another session"):
        Session(video, embedder=ColourEmbedder(), project=project)
    other = Session(video, embedder=ColourEmbedder())
    with pytest.raises(ProjectError, match="Another session"):
        other.keep_in(project)
    session.keep_in(Project.create(tmp_path / "elsewhere.pml.zarr", video))  # and so the first one is free
    assert Session(video, embedder=ColourEmbedder(), project=project).annotations.frames.keys() == {0, 5}


def test_nothing_is_saved_in_a_closed_project(session, path):
    session.project.close()
    again = Session(session.video, embedder=ColourEmbedder(), project=Project.open(path))
    with pytest.raises(ProjectError, match="closed"):
        session.annotate(3, stroke())
    for write in (lambda: session.segment(0), session.masks.clear, lambda: session.project.masks((12, 16))):
        with pytest.raises(ProjectError, match="closed"):
            write()
    assert not session.masks.finished
    again.annotate(6, stroke())
    again = reopened(again)
    assert again.annotations.frames.keys() == {0, 5, 6}
    assert again.stale_frames() == list(range(8))
    with pytest.raises(ProjectError, match="closed"):
        Session(session.video, embedder=ColourEmbedder(), project=session.project)


def test_another_video_is_recognised(session, drawn):
    session.project.close()
    with pytest.raises(ProjectError, match="another video"):
        Session(open_video(drawn[0][::-1]), embedder=ColourEmbedder(), project=Project.open(session.project.path))


@pytest.fixture(params=["array", "folder", "mpeg4", "one group of frames"])
def changing(request, tmp_path):
    """Opens a video of 60 frames, of which the last may be others; what was there before is written over."""

    def open_as(frames):
        if request.param == "array":
            return open_video(frames)
        if request.param == "folder":
            (tmp_path / "clip").mkdir(exist_ok=True)
            for t, frame in enumerate(frames):
                Image.fromarray(frame).save(tmp_path / f"clip/{t}.png")
            return open_video(tmp_path / "clip")
        with av.open(str(tmp_path / "clip.mp4"), "w") as container:
            options = {"g": "12" if request.param == "mpeg4" else "600"}
            stream = container.add_stream("mpeg4", rate=10, options=options)
            stream.height, stream.width, stream.pix_fmt, stream.bit_rate = *frames.shape[1:3], "yuv420p", 10**7
            for frame in frames:
                container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
            container.mux(stream.encode())
        return open_video(tmp_path / "clip.mp4")

    return open_as


def test_a_video_whose_later_frames_change_is_recognised(changing, path):
    frames, _ = draw_video(60, 32, 48)
    Project.create(path, changing(frames)).close()
    project = Project.open(path)
    project.check(changing(frames))
    frames[40:] = frames[40:, ::-1].copy()
    changed = changing(frames)
    with pytest.raises(ProjectError, match="shows something else than when"):
        project.check(changed)


@pytest.mark.parametrize("codec", ["mpeg4", "libx264"])
def test_a_change_far_behind_the_only_key_frame_is_recognised(codec, tmp_path):
    """And the same frames in another kind of file are the same video."""
    frames = np.tile(draw_video(4, 32, 48)[0], (100, 1, 1, 1))
    before = encoded(frames, tmp_path / "before.mp4", codec)
    Project.create(tmp_path / "p.pml.zarr", before).close()
    project = Project.open(tmp_path / "p.pml.zarr")
    project.check(before)
    project.check(repacked(before.path, tmp_path / "same.mkv"))
    if codec == "libx264":
        other_kind = repacked(before.path, tmp_path / "same.ts")
        assert other_kind.sizes != before.sizes
        project.check(other_kind)
    frames[360:] = frames[360:, ::-1].copy()
    after = encoded(frames, tmp_path / "after.mp4", codec)
    assert after.key_frames == [0]
    np.testing.assert_array_equal(after.read(250), before.read(250))
    with pytest.raises(ProjectError, match="shows something else than when"):
        project.check(after)


def encoded(frames, path, codec):
    """Open frames as a file with a single key frame."""
    with av.open(str(path), "w") as container:
        options = {"g": "600", "sc_threshold": "1000000000" if codec == "mpeg4" else "0"}
        stream = container.add_stream(codec, rate=10, options=options)
        stream.height, stream.width, stream.pix_fmt, stream.bit_rate = *frames.shape[1:3], "yuv420p", 10**7
        for frame in frames:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        container.mux(stream.encode())
    return open_video(path)


def repacked(path, to):
    """Open the same compressed frames in another kind of file."""
    with av.open(str(path)) as source, av.open(str(to), "w") as container:
        stream = container.add_stream_from_template(source.streams.video[0])
        for packet in source.demux(video=0):
            if packet.dts is not None:
                packet.stream = stream
                container.mux(packet)
    return open_video(to)


def test_a_project_of_an_earlier_version_opens(session, path):
    """It knows nothing of later frames, channels and colours."""
    list(session.propagate())
    record = json.loads((path / "zarr.json").read_text())
    for name in ("later", "channel_axis", "sizes", "colours"):
        del record["attributes"]["napari-pml"][name]
    (path / "zarr.json").write_text(json.dumps(record))
    assert reopened(session).stale_frames() == []


@pytest.mark.filterwarnings("ignore:.*cannot be read.*repeat:UserWarning")
def test_a_later_frame_that_cannot_be_read_does_not_shut_the_project(tmp_path):
    write_video(tmp_path, "shapes", *draw_video(40, 32, 48))
    frames = tmp_path / "JPEGImages/480p/shapes"
    project = Project.create(tmp_path / "p.pml.zarr", open_video(frames))
    last = frames / "00039.jpg"
    last.write_bytes(last.read_bytes()[:-100])
    with pytest.warns(UserWarning, match="repeat of the frame before it"):
        project.open_video()
    with pytest.warns(UserWarning, match="repeat of the frame before it"):
        Project.create(tmp_path / "q.pml.zarr", open_video(frames)).open_video()


def test_a_video_with_channels_on_an_axis_of_its_own_is_found_again(tmp_path, drawn):
    frames, masks = drawn
    zarr.create_array(str(tmp_path / "v.zarr"), data=np.ascontiguousarray(np.moveaxis(frames[..., :2], -1, 1)))
    video = open_video(tmp_path / "v.zarr", channel_axis=1)
    session = Session(video, embedder=ColourEmbedder(), project=Project.create(tmp_path / "p.pml.zarr", video))
    session.annotate(0, masks[0], complete=True)
    session.project.close()
    project = Project.open(tmp_path / "p.pml.zarr")
    np.testing.assert_array_equal(project.open_video().read(3), frames[3, ..., :2])
    assert Session(open_video(frames), embedder=ColourEmbedder()).transfer_from(project)


def test_the_video_is_found_where_it_was_or_beside_the_project(tmp_path, drawn):
    (tmp_path / "clip").mkdir()
    for t, frame in enumerate(drawn[0]):
        Image.fromarray(frame).save(tmp_path / f"clip/{t}.png")
    project = Project.create(tmp_path / "results/clip.pml.zarr", open_video(tmp_path / "clip"))
    assert project.open_video().shape == (8, 96, 128)
    (tmp_path / "clip").rename(tmp_path / "results/clip")
    assert project.open_video().shape == (8, 96, 128)
    (tmp_path / "results/clip").rename(tmp_path / "results/other")
    with pytest.raises(ProjectError, match="not there any more"):
        project.open_video()


def spoil(path: Path, how: str) -> None:
    record = path / "zarr.json"
    if how == "cut off":
        record.write_bytes(record.read_bytes()[:100])
    elif how in ("no record", "later version", "field missing"):
        content = json.loads(record.read_text())
        if how == "no record":
            content["attributes"] = {}
        elif how == "later version":
            content["attributes"]["napari-pml"]["format"] = 99
        else:
            del content["attributes"]["napari-pml"]["frames"]
        record.write_text(json.dumps(content))
    else:
        (path / "annotations/zarr.json").write_bytes(b"spoiled")


@pytest.mark.parametrize(
    ("how", "message"),
    [
        ("cut off", "damaged"),
        ("no record", "something else"),
        ("later version", "later version"),
        ("field missing", "damaged"),
        ("annotations spoiled", "damaged"),
    ],
)
def test_damaged_and_foreign_folders_are_refused(session, path, how, message):
    session.project.close()
    spoil(path, how)
    for _ in range(2):  # and the lock is let go
        with pytest.raises(ProjectError, match=message):
            Project.open(path)


def test_other_folders_are_refused_and_left_alone(tmp_path, drawn):
    with pytest.raises(ProjectError, match="no project"):
        Project.open(tmp_path / "nothing.pml.zarr")
    MaskStore((2, 8, 8), (1, 1), tmp_path / "masks.zarr")
    with pytest.raises(ProjectError, match="something else"):
        Project.open(tmp_path / "masks.zarr")
    (tmp_path / "photos").mkdir()
    with pytest.raises(ProjectError, match="no project"):
        Project.open(tmp_path / "photos")
    with pytest.raises(ProjectError, match="already"):
        Project.create(tmp_path / "photos", open_video(drawn[0]))
    assert list((tmp_path / "photos").iterdir()) == []


def test_work_moves_to_another_project(session, tmp_path, drawn):
    list(session.propagate())
    session.project.note(names={2: "square"}, colours={2: (9, 8, 7)})
    first = session.project
    session.keep_in(Project.create(tmp_path / "elsewhere.pml.zarr", session.video))
    session.annotate(7, stroke(2))
    list(session.propagate())
    again = reopened(session)
    assert again.project.path.name == "elsewhere.pml.zarr"
    assert again.stale_frames() == []
    assert again.annotations.frames.keys() == {0, 5, 7}
    assert again.project.record.names == {2: "square"}
    assert again.project.record.colours == {2: (9, 8, 7)}
    assert first.annotations.frames.keys() == {0, 5}


def test_work_in_memory_moves_to_a_project(drawn, path):
    session = Session(open_video(drawn[0]), embedder=ColourEmbedder())
    session.annotate(0, drawn[1][0], complete=True)
    list(session.propagate())
    session.keep_in(Project.create(path, session.video))
    assert reopened(session).stale_frames() == []


def other_video(drawn):
    """The same scene mirrored, on which both objects are annotated."""
    other = Session(open_video(drawn[0][:, :, ::-1]), embedder=ColourEmbedder())
    other.annotate(2, drawn[1][2][:, ::-1], complete=True)
    return other


def test_what_is_annotated_on_another_video_counts_here(drawn):
    session = Session(open_video(drawn[0]), embedder=ColourEmbedder())
    assert session.transfer_from(other_video(drawn))
    assert not session.transfer_from(other_video(drawn))
    masks = {mask.t: mask.labels for mask in session.propagate(5)}
    for label in (1, 2):
        assert np.mean([jaccard(masks[t] == label, drawn[1][t] == label) for t in range(8)]) > 0.8
    session.annotate(5, stroke(7))  # the disc is an object of its own here
    assert set(np.unique(session.segment(5).labels)) >= {2, 7}
    session.transfer_from()
    assert set(np.unique(session.segment(5).labels)) <= {0, 7}


def test_another_network_waits_until_references_of_other_videos_are_taken_over(drawn):
    session = Session(open_video(drawn[0]), embedder=ColourEmbedder())
    other, after = other_video(drawn), ColourEmbedder()
    choosing = threading.Thread(target=lambda: setattr(session, "embedder", after))
    embedder, embed = session.embedder, session.embedder.embed

    class Unfair:
        """A lock after which whoever waits for it comes first."""

        lock = threading.Lock()

        def __enter__(self):
            self.lock.acquire()

        def __exit__(self, *_):
            self.lock.release()
            time.sleep(0.1)

    def embed_and_choose(frames, t):
        if choosing.ident is None:
            choosing.start()
        return embed(frames, t)

    embedder.embed, session._computing = embed_and_choose, Unfair()
    session.transfer_from(other)
    choosing.join()
    assert session.embedder is after
    assert session.transferred is None


def test_learned_references_are_part_of_the_project(drawn, path, tmp_path):
    other = other_video(drawn)
    (tmp_path / "mirrored").mkdir()
    for t in range(8):
        Image.fromarray(other.video.read(t)).save(tmp_path / f"mirrored/{t}.png")
    other.keep_in(Project.create(tmp_path / "mirrored.pml.zarr", open_video(tmp_path / "mirrored")))
    video = open_video(drawn[0])
    session = Session(video, embedder=ColourEmbedder(), project=Project.create(path, video))
    session.transfer_from(other.project)
    list(session.propagate())
    session.annotate(1, stroke())
    expected = session.segment(1).labels
    again = reopened(session)
    assert not again.transfer_from(other)
    np.testing.assert_array_equal(again.segment(1).labels, expected)
    list(again.propagate())
    assert reopened(again).stale_frames() == []
    stranger = ColourEmbedder()
    stranger.fingerprint = "colour-2"
    with pytest.warns(UserWarning, match="another network"):
        alone = reopened(again, embedder=stranger)
    assert alone.transferred is None


def test_there_must_be_something_to_learn(drawn):
    session = Session(open_video(drawn[0]), embedder=ColourEmbedder())
    with pytest.raises(AnnotationError, match="nothing to learn"):
        session.transfer_from(Session(open_video(drawn[0]), embedder=ColourEmbedder()))


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs processes that begin as copies")
def test_twenty_kills_at_any_moment_lose_nothing(path, tmp_path):
    video = open_video(killed_work.FRAMES)
    Project.create(path, video).close()
    log = tmp_path / "log"
    subprocess.run([sys.executable, killed_work.__file__, path, log, "20"], check=True, timeout=120)
    lines = [line.split() for line in log.read_text().splitlines()]
    assert lines.count(["ready"]) == 20

    session = killed_work.begin(path)
    undisturbed = Session(video, embedder=ColourEmbedder())
    done = session.annotations.revision
    for step in range(done):
        killed_work.annotate(undisturbed, step)
    assert session.annotations.frames.keys() == undisturbed.annotations.frames.keys()
    for t, labels in undisturbed.annotations.frames.items():
        np.testing.assert_array_equal(session.annotations.frames[t], labels)
    assert session.annotations.complete == undisturbed.annotations.complete

    reported = [int(line[1]) for line in lines if line[0] == "annotated"]
    assert reported == sorted(set(reported)), "a step that was reported as saved was done again"
    assert done - reported[-1] in (0, 1)  # one may have been saved, but not reported
    segmented = [tuple(line[1:]) for line in lines if line[0] == "segmented"]
    assert len(segmented) == len(set(segmented)), "a finished mask was computed again"
    valid = {int(t) for t, revision in segmented if int(revision) == done}
    assert not valid & set(session.stale_frames())

    list(session.propagate())
    list(undisturbed.propagate())
    np.testing.assert_array_equal(session.masks.labels[:], undisturbed.masks.labels[:])


def test_a_project_goes_on_with_its_own_network(drawn, tmp_path, monkeypatch):
    """Whatever folder it is opened from; and when the network comes back, as long as nothing was done without it."""
    frames, masks = drawn
    state, _ = load_weights(bundled("compact"), "compact")
    own = tmp_path / "own.safetensors"
    save_weights({name: value * 1.01 for name, value in state.items()}, own, "compact")
    monkeypatch.chdir(tmp_path)
    project = Project.create("p.pml.zarr", open_video(frames))
    session = Session(open_video(frames), embedder="own.safetensors", device="cpu", project=project)
    session.annotate(0, masks[0], complete=True)
    session.segment(0)
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir("elsewhere")

    def begin(session):
        session.project.close()
        return Session(open_video(frames), device="cpu", project=Project.open(project.path))

    def begin_without(session):
        own.rename("gone")
        with pytest.warns(UserWarning, match="own network is missing"):
            alone = begin(session)
        assert alone.embedder.name == "compact"
        assert 0 in alone.stale_frames()
        Path("gone").rename(own)
        return alone

    session = begin(begin_without(begin(session)))
    assert session.embedder.name == str(own)
    assert 0 not in session.stale_frames()
    alone = begin_without(session)
    alone.segment(0)
    again = begin(alone)
    assert again.embedder.name == "compact"
    assert 0 not in again.stale_frames()


def test_a_network_may_be_moved(drawn, tmp_path):
    frames, masks = drawn
    session = Session(open_video(frames), device="cpu", project=Project.create(tmp_path / "p", open_video(frames)))
    session.annotate(0, masks[0], complete=True)
    session.segment(0)
    session.project.close()
    copyfile(bundled("compact"), tmp_path / "moved.safetensors")
    copyfile(bundled("mask-head"), tmp_path / "mask-head.safetensors")  # what goes with it
    project = Project.open(tmp_path / "p")
    moved = Session(open_video(frames), embedder=str(tmp_path / "moved.safetensors"), device="cpu", project=project)
    assert 0 not in moved.stale_frames()


def test_masks_of_other_weights_of_the_method_are_stale(path, drawn, monkeypatch):
    video = open_video(drawn[0])
    config = PmlConfig(refine="contours")
    session = Session(video, config, embedder=ColourEmbedder(), project=Project.create(path, video))
    session.annotate(0, drawn[1][0], complete=True)
    session.segment(0)
    session.project.close()
    again = Session(video, embedder=ColourEmbedder(), project=Project.open(path))
    assert 0 not in again.stale_frames()
    again.project.close()
    monkeypatch.setattr("napari_pml.methods.config.digest", lambda path: "trained again")
    later = Session(video, embedder=ColourEmbedder(), project=Project.open(path))
    assert 0 in later.stale_frames()
