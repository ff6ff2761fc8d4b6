import threading

import numpy as np
import pytest
import torch

from drawn_video import ColourEmbedder, draw_video, jaccard
from napari_pml import BACKGROUND, METHODS, MaskStore, PmlConfig, PmlError, Session, open_video
from napari_pml.methods.osvos.osvos import OsvosConfig
from napari_pml.store.certainty import certainty
from napari_pml.store.project import Project

QUICK = {**METHODS, "osvos": OsvosConfig(steps=4, refine="none")}
"""Where masks need not be good, but the same."""


@pytest.fixture
def make(drawn, colour_embedder):
    def make(config=None, **kwargs):
        return Session(open_video(drawn[0]), config, embedder=colour_embedder, **kwargs)

    return make


def stroke(masks, label, t=0):
    """A short line through the middle of an object."""
    y, x = (int(c.mean()) for c in np.nonzero(masks[t] == label))
    labels = np.zeros(masks[t].shape, np.uint16)
    labels[y, x - 6 : x + 6] = label
    return labels


@pytest.mark.parametrize("method", METHODS)
def test_a_first_mask_becomes_a_segmentation_of_the_video(make, drawn, method):
    session = make(METHODS[method] if method != "osvos" else OsvosConfig(steps=40, learning_rate=3e-4))
    session.annotate(0, drawn[1][0], complete=True)
    masks = {mask.t: mask for mask in session.propagate()}
    assert sorted(masks) == list(range(8))
    for t, mask in masks.items():
        for label in (1, 2):
            assert jaccard(mask.labels == label, drawn[1][t] == label) > 0.85, (t, label)
        assert mask.labels.dtype == np.uint16
        assert 0 <= mask.confidence.min() <= mask.confidence.max() <= 1


def test_a_complete_frame_keeps_its_mask_to_the_pixel(make, drawn):
    session = make()
    session.annotate(3, drawn[1][3], complete=True)
    list(session.propagate())
    assert (session.masks[3].labels == drawn[1][3]).all()


def test_one_stroke_and_no_background_gives_a_sensible_mask(make, drawn):
    session = make()
    session.annotate(4, stroke(drawn[1], 1, 4))
    assert jaccard(session.segment(4).labels == 1, drawn[1][4] == 1) > 0.8


def test_painted_pixels_stay_as_painted(make, drawn):
    session = make()
    session.annotate(0, drawn[1][0], complete=True)
    wrong = np.zeros((96, 128), np.uint16)
    wrong[5:7, 5:40] = 7
    wrong[58:62, 40:44] = BACKGROUND
    session.annotate(4, wrong)
    labels = session.segment(4).labels
    assert (labels[5:7, 5:40] == 7).all()
    assert (labels[58:62, 40:44] == 0).all()


def test_an_object_may_be_added_at_any_frame(make, drawn):
    session = make()
    session.annotate(0, np.where(drawn[1][0] == 1, 1, 0), complete=True)
    list(session.propagate())
    assert 2 not in session.masks[7].labels
    session.annotate(5, stroke(drawn[1], 2, 5))
    list(session.propagate(5))
    assert jaccard(session.masks[7].labels == 2, drawn[1][7] == 2) > 0.8


def test_taking_a_stroke_away_takes_its_effect_away(make, drawn):
    session = make()
    session.annotate(0, drawn[1][0], complete=True)
    before = {m.t: m.labels for m in session.propagate()}
    session.annotate(5, stroke(drawn[1], 2, 5) * 2)
    list(session.propagate())
    session.annotate(5, np.zeros((96, 128), int))
    after = {m.t: m.labels for m in session.propagate()}
    assert all((before[t] == after[t]).all() for t in before)


def test_the_frame_in_view_comes_first(make, drawn):
    session = make()
    session.annotate(0, drawn[1][0], complete=True)
    order = [m.t for m in session.propagate(6)]
    assert order[0] == 6
    assert set(order) == set(range(8))
    assert session.stale_frames() == []


@pytest.mark.parametrize("method", METHODS)
def test_the_masks_do_not_depend_on_the_frame_in_view(make, drawn, method):
    results = []
    for start in (0, 5):
        session = make(QUICK[method])
        session.annotate(0, drawn[1][0], complete=True)
        session.annotate(7, drawn[1][7], complete=True)
        list(session.propagate(start))
        results.append(session.masks.labels[:])
    assert (results[0] == results[1]).all()


def test_a_propagation_ends_when_annotations_change(make, drawn):
    session = make()
    session.annotate(0, drawn[1][0], complete=True)
    running = session.propagate()
    next(running)
    next(running)
    session.annotate(5, stroke(drawn[1], 2, 5))
    assert list(running) == []
    assert len(session.stale_frames()) == 8


def test_the_next_propagation_does_only_what_is_left(make, drawn, colour_embedder):
    session = make()
    session.annotate(0, drawn[1][0], complete=True)
    running = session.propagate()
    done = [next(running).t for _ in range(3)]
    running.close()
    assert session.stale_frames() == [t for t in range(8) if t not in done]
    assert [m.t for m in session.propagate()] == [t for t in range(8) if t not in done]
    assert colour_embedder.calls == 8  # each frame was embedded once


def test_a_correction_embeds_nothing_again(make, drawn, colour_embedder):
    session = make()
    session.annotate(0, drawn[1][0], complete=True)
    list(session.propagate())
    session.annotate(5, stroke(drawn[1], 2, 5))
    list(session.propagate())
    assert colour_embedder.calls == 8


def test_a_propagation_embeds_nothing_twice(colour_embedder, monkeypatch):
    """Also where there is room for three masks and the embeddings of ten frames, as for a large video."""
    n = 40
    frames, masks = draw_video(n)
    monkeypatch.setattr("napari_pml.store.masks.RECENT_BYTES", 3 * (96 * 128 * 2 + 12 * 16 * 4))
    session = Session(open_video(frames), embedder=colour_embedder, embedding_bytes=10 * 12 * 16 * 4 * 2)
    session.annotate(0, masks[0], complete=True)
    list(session.propagate())
    assert colour_embedder.calls == n


def test_few_kept_references_change_no_mask(make, drawn, monkeypatch):
    masks, found = drawn[1], []
    for room in (2**27, 1):
        monkeypatch.setattr("napari_pml.methods.adaptation.CELL_BYTES", room)
        monkeypatch.setattr("napari_pml.methods.adaptation.SAMPLE_BYTES", room)
        session = make()
        session.annotate(0, masks[0], complete=True)
        session.annotate(6, stroke(masks, 2, 6))  # a correction: there are provisional masks
        list(session.propagate())
        found.append(session.masks.labels[:])
    assert (found[0] == found[1]).all()


def test_other_settings_make_every_mask_stale(make, drawn):
    session = make()
    session.annotate(0, drawn[1][0], complete=True)
    list(session.propagate())
    session.config = PmlConfig(k=1)
    assert len(session.stale_frames()) == 8
    assert len(list(session.propagate())) == 8


def test_the_least_certain_frame_is_the_next_to_annotate(make, drawn):
    session = make()
    assert session.next_frame_to_annotate() is None
    session.annotate(0, drawn[1][0], complete=True)
    masks = {m.t: certainty(m.labels, m.confidence) for m in session.propagate() if m.t != 0}
    assert session.next_frame_to_annotate() == min(masks, key=masks.get)


def test_nothing_annotated_says_what_to_do(make):
    with pytest.raises(PmlError, match="Paint at least one stroke"):
        next(make().propagate())
    with pytest.raises(PmlError, match="Paint at least one stroke"):
        make().segment(0)


def test_a_frame_that_is_not_there(make, drawn):
    session = make()
    session.annotate(0, drawn[1][0], complete=True)
    with pytest.raises(PmlError, match="frames 0 to 7"):
        session.segment(8)
    with pytest.raises(PmlError, match="frames 0 to 7"):
        next(session.propagate(99))


def test_a_refused_annotation_leaves_the_others(make, drawn):
    session = make()
    session.annotate(0, drawn[1][0], complete=True)
    with pytest.raises(PmlError, match="96 x 128"):
        session.annotate(1, np.zeros((5, 5), int))
    with pytest.raises(PmlError, match="frames 0 to 7"):
        session.annotate_frames({2: drawn[1][2], 8: drawn[1][0]})
    assert list(session.annotations.frames) == [0]


def test_several_frames_at_once_are_what_they_are_one_by_one(make, drawn):
    masks, strokes = drawn[1], stroke(drawn[1], 1)
    together, apart = make(), make()
    assert together.annotate_frames({5: masks[5], 0: strokes}, complete=[5])
    apart.annotate(0, strokes)
    apart.annotate(5, masks[5], complete=True)
    assert together.annotations.complete == {5}
    for one, other in zip(*(sorted(s.propagate(), key=lambda m: m.t) for s in (together, apart)), strict=True):
        np.testing.assert_array_equal(one.labels, other.labels)
    assert not together.annotate_frames({5: masks[5], 0: strokes}, complete=[5])


def test_masks_are_kept_on_disk_where_that_is_asked_for(make, drawn, tmp_path):
    session = make(masks=MaskStore((8, 96, 128), (12, 16), tmp_path / "masks.zarr"))
    session.annotate(0, drawn[1][0], complete=True)
    list(session.propagate())
    again = MaskStore((8, 96, 128), (12, 16), tmp_path / "masks.zarr")
    assert (again[5].labels == session.masks[5].labels).all()


def test_when_the_gpu_is_full_the_cpu_goes_on(make, drawn, colour_embedder):
    class FullGpu:
        type = "cuda"

        def __str__(self):
            return "cuda"

    def embed(frames, t, embed=colour_embedder.embed):
        if colour_embedder.device.type == "cuda":
            raise torch.OutOfMemoryError("CUDA out of memory")
        return embed(frames, t)

    colour_embedder.device = FullGpu()
    colour_embedder.embed = embed
    session = make()
    session.annotate(0, drawn[1][0], complete=True)
    with pytest.warns(UserWarning, match="going on with the CPU"):
        masks = list(session.propagate())
    assert len(masks) == 8
    assert session.device.type == "cpu"


def test_a_one_frame_video_and_a_one_pixel_video(colour_embedder):
    for shape in ((1, 20, 30), (3, 1, 1)):
        session = Session(open_video(np.random.default_rng(0).random(shape)), embedder=colour_embedder)
        session.annotate(0, np.ones(shape[1:], int))
        assert all((m.labels == 1).all() for m in session.propagate())


def test_masks_of_an_earlier_session_are_stale(make, drawn, tmp_path):
    path = tmp_path / "masks.zarr"
    session = make(masks=MaskStore((8, 96, 128), (12, 16), path))
    for t in (0, 3, 5):
        session.annotate(t, drawn[1][t], complete=True)
    list(session.propagate())
    again = make(masks=MaskStore((8, 96, 128), (12, 16), path))
    again.annotate(0, drawn[1][0], complete=True)
    assert again.stale_frames() == list(range(8))


def test_strokes_from_many_threads_are_all_kept(make):
    session = make()

    def paint(t):
        for label in range(1, 20):
            session.annotate(t, np.full((96, 128), label))

    threads = [threading.Thread(target=paint, args=(t,)) for t in range(8)]
    threads.append(threading.Thread(target=lambda: [setattr(session, "config", PmlConfig(k=k)) for k in range(1, 20)]))
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert list(session.annotations.frames) == list(range(8))
    assert session.annotations.revision == 8 * 19 + 19


def test_an_object_that_was_away_is_found_again(colour_embedder):
    frames = np.full((12, 64, 160, 3), 60, np.uint8)
    frames[:, :16] = (90, 90, 200)
    masks = np.zeros((12, 64, 160), np.uint16)
    for t in (*range(4), *range(8, 12)):
        x = 8 + 12 * t  # it comes back far from where it went
        frames[t, 24:48, x : x + 24] = (220, 40, 40)
        masks[t, 24:48, x : x + 24] = 1
    session = Session(open_video(frames), embedder=colour_embedder)
    session.annotate(0, masks[0], complete=True)
    list(session.propagate())
    for t in range(12):
        found = session.masks[t].labels
        assert (jaccard(found == 1, masks[t] == 1) > 0.8) if masks[t].any() else not found.any(), t


def test_a_propagation_that_comes_late_writes_over_nothing_newer(make, drawn):
    """It looked whether the annotations have changed just before they did."""
    masks, late, go_on = drawn[1], threading.Event(), threading.Event()

    class SlowToSay(MaskStore):
        @property
        def revisions(self):
            found = super().revisions
            if threading.current_thread().name == "late" and len(seen) == 3:
                late.set()
                go_on.wait()
            return found

    session, seen = make(masks=SlowToSay((8, 96, 128), (12, 16))), []
    thread = threading.Thread(name="late", target=lambda: [seen.append(mask) for mask in session.propagate()])
    session.annotate(0, masks[0], complete=True)
    thread.start()
    late.wait()
    session.annotate(7, masks[7], complete=True)
    list(session.propagate())
    go_on.set()
    thread.join()
    assert session.stale_frames() == []


@pytest.mark.parametrize("t", [4, 7])
def test_previews_and_provisional_masks_leave_finished_ones_as_they_are(make, drawn, t):
    session = make()
    session.annotate(0, drawn[1][0], complete=True)
    list(session.propagate())
    finished, revision = session.masks.labels[:], session.annotations.revision
    session.annotate(7, stroke(drawn[1], 2, 7))  # to be reached over provisional masks
    preview = session.segment(t)
    assert (session.masks.latest(t).labels == preview.labels).all()
    for _ in zip(range(5), session.propagate(0), strict=False):  # stopped within the provisional masks
        pass
    earlier = session.masks.revisions == revision
    assert earlier.sum() >= 4
    assert session.masks.finished == list(range(8))
    assert (session.masks.labels[:][earlier] == finished[earlier]).all()


def test_a_propagation_goes_on_in_another_project_from_its_provisional_masks(make, drawn, tmp_path):
    session, straight = make(), make()
    for each in (session, straight):
        each.annotate(0, drawn[1][0], complete=True)
    list(session.propagate())
    for each in (session, straight):
        each.annotate(7, stroke(drawn[1], 2, 7))
    masks = list(straight.propagate(0))
    running = session.propagate(0)
    while not session.masks.previewed:
        next(running)
    guessed = session.masks.previewed
    session.keep_in(Project.create(tmp_path / "other.pml.zarr", session.video))
    assert session.masks.previewed == guessed
    assert session.masks.finished == list(range(8))
    list(running)
    assert masks
    assert (session.masks.labels[:] == straight.masks.labels[:]).all()


def test_looking_at_a_finished_frame_leaves_it_finished(make, drawn):
    session = make()
    session.annotate(0, drawn[1][0], complete=True)
    list(session.propagate())
    assert (session.segment(4).labels == session.masks[4].labels).all()
    assert session.stale_frames() == []


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("seed", range(6))
def test_stops_and_detours_do_not_change_the_masks(make, drawn, method, seed):
    """Random annotations, some erased again, propagations stopped anywhere: the end is that of a straight run."""
    rng = np.random.default_rng(seed)
    session, straight = make(QUICK[method]), make(QUICK[method])
    session.annotate(0, drawn[1][0], complete=True)
    for _ in range(6):
        t = int(rng.integers(8))
        action = rng.choice(["complete", "stroke", "erase", "look"])
        if action == "complete":
            session.annotate(t, drawn[1][t], complete=True)
        elif action == "stroke":
            session.annotate(t, stroke(drawn[1], int(rng.integers(1, 3)), t))
        elif action == "erase" and len(session.annotations.frames) > 1:
            session.annotate(t, np.zeros((96, 128), int))
        if not session.annotations.frames:
            session.annotate(0, drawn[1][0], complete=True)
        session.segment(int(rng.integers(8)))
        running = session.propagate(int(rng.integers(8)))
        for _ in range(rng.integers(6)):
            next(running, None)
        running.close()
    list(session.propagate(int(rng.integers(8))))
    for t, labels in session.annotations.frames.items():
        straight.annotate(t, labels, complete=t in session.annotations.complete)
    list(straight.propagate())
    assert session.stale_frames() == []
    assert (session.masks.labels[:] == straight.masks.labels[:]).all()


def test_embeddings_take_no_more_room_than_they_are_given(drawn, colour_embedder):
    session = Session(open_video(drawn[0]), embedder=colour_embedder, embedding_bytes=1)
    for t in (0, 0, 1, 0):
        _ = session.embeddings[t]
    assert colour_embedder.calls == 3


def test_another_network_makes_everything_anew(make, drawn):
    """And so does another resolution; confidence keeps its cells."""
    frames, masks = drawn
    session = make()
    session.annotate(0, masks[0], complete=True)
    list(session.propagate())
    session.embedder = ColourEmbedder()
    session.resolution = "2x"
    assert session.embeddings.cell == (4, 4)
    assert session.stale_frames() == list(range(len(frames)))
    for mask in session.propagate():
        assert jaccard(mask.labels == 1, masks[mask.t] == 1) > 0.8
        assert mask.confidence.shape == (12, 16)
