"""Whatever array is given as a video or as labels: a right answer, or an error that says what to do."""

import numpy as np
import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st

from drawn_video import ColourEmbedder
from napari_pml import BACKGROUND, METHODS, PmlConfig, Session, open_video
from napari_pml.errors import AnnotationError, SettingsError, VideoError
from napari_pml.methods.osvos.osvos import OsvosConfig
from napari_pml.types import Annotations
from odd import ANYTHING, NUMBERS, SPECIAL, arrays, says_what_to_do, shapes

QUICK = {**METHODS, "osvos": OsvosConfig(steps=2, refine="none")}


def segmented(video, config: PmlConfig | None = None, embedder=None) -> Session:
    """A session with one stroke on an object and one on the background, all frames segmented."""
    session = Session(video, config, embedder=embedder or ColourEmbedder())
    strokes = np.zeros(video.shape[1:], np.uint16)
    strokes[-1, -1] = BACKGROUND
    strokes[0, 0] = 1
    session.annotate(0, strokes)
    list(session.propagate())
    assert session.stale_frames() == []
    for t in range(len(video)):
        mask = session.masks[t]
        assert set(np.unique(mask.labels)) <= {0, 1}
        assert 0 <= mask.confidence.min() <= mask.confidence.max() <= 1
    assert session.masks[0].labels[0, 0] == 1
    return session


@settings(max_examples=150)
@given(arrays(shapes(), ANYTHING), st.sampled_from([None, None, None, 0, 1, 3, -1, 9]))
def test_any_array_is_a_video_or_refused(array, channel_axis):
    try:
        video = open_video(array, channel_axis=channel_axis)
    except VideoError as error:
        says_what_to_do(error)
        return
    for t in range(len(video)):
        rgb = video.rgb(t)
        assert (rgb.shape, rgb.dtype) == ((*video.shape[1:], 3), np.float32)
        assert 0 <= rgb.min() <= rgb.max() <= 1  # NaN fails too


@settings(max_examples=100)
@given(arrays(st.tuples(st.integers(1, 3), st.integers(1, 20), st.integers(5, 20)), NUMBERS))
@example(np.zeros((1, 1, 1), np.uint8))
@example(np.zeros((2, 1, 99), bool))
@example(np.zeros((2, 99, 1), np.float16))
@example(np.full((2, 9, 9), np.nan))
@example(np.stack([np.full((9, 9), np.nan), np.arange(81.0).reshape(9, 9)]))
def test_any_video_is_segmented(array):
    segmented(open_video(array))


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("shape", [(1, 1, 1), (2, 1, 33), (2, 33, 1), (1, 17, 9)])
def test_every_method_takes_the_smallest_videos(method, shape, colour_embedder):
    segmented(open_video(np.random.default_rng(0).random(shape)), QUICK[method], colour_embedder)


def test_large_frames():
    """A complete frame is not computed, for the sake of time."""
    mask = np.zeros((5000, 5000), np.uint8)
    mask[:2500] = 7
    video = open_video(mask[None])
    assert video.rgb(0)[[0, -1]].mean((1, 2)).tolist() == [1, 0]
    session = Session(video, embedder=ColourEmbedder())
    session.annotate(0, mask, complete=True)
    np.testing.assert_array_equal(session.segment(0).labels, mask)


@pytest.mark.parametrize("offset", [0, 1e6, 1e9, -1e12, 1e-30])
@pytest.mark.parametrize("dtype", [np.float64, np.int64])
def test_what_is_seen_does_not_depend_on_the_offset(offset, dtype):
    steps = np.arange(2 * 20 * 20).reshape(2, 20, 20)
    shifted = open_video((steps + offset).astype(dtype))
    np.testing.assert_allclose(shifted.rgb(1), open_video(steps.astype(np.float64)).rgb(1), atol=1e-3)


def test_a_channel_of_nan_does_not_hide_the_others():
    array = np.random.default_rng(0).random((2, 8, 8, 2))
    array[..., 1] = np.nan
    rgb = open_video(array, channel_axis=3).rgb(0)
    assert rgb[..., 0].max() == 1
    assert not rgb[..., 1:].any()


def test_frames_of_more_cells_than_can_be_counted_are_refused():
    class Fine(ColourEmbedder):
        stride = 1

    video = open_video(np.zeros((1, 4000, 4000), np.uint8))
    session = Session(video, embedder=ColourEmbedder(), resolution="native")
    with pytest.raises(SettingsError, match="cells"):
        session.embedder = Fine()
    assert session.embedder.stride == 8
    with pytest.raises(VideoError, match="Cut or shrink"):
        open_video(np.lib.stride_tricks.as_strided(np.zeros(1, np.uint8), (2, 2**15, 2**14), (0, 0, 0)))


EMPTY = Annotations((4, 6, 7))


@settings(max_examples=200)
@given(st.one_of(arrays((6, 7)), arrays(shapes(max_dims=3)), st.sampled_from([None, "x", 3, [], [[1], [1, 2]], {}])))
def test_any_labels_are_kept_as_they_are_or_refused(labels):
    try:
        after = EMPTY.with_frame(2, labels)
    except AnnotationError as error:
        says_what_to_do(error)
        return
    kept = after.frames.get(2, np.zeros((6, 7)))
    np.testing.assert_array_equal(kept, np.asarray(labels).astype(float))
    assert after.revision == bool(kept.any())


@settings(max_examples=100)
@given(st.one_of(st.sampled_from([*SPECIAL, None, "1", b"", 1.0, np.int8(2), np.array(1), [1]]), st.integers()))
def test_only_frames_of_the_video_can_be_annotated(t):
    session = Session(open_video(np.zeros((4, 6, 7))), embedder=ColourEmbedder())
    labels = np.ones((6, 7), int)
    try:
        session.annotate(t, labels)
    except AnnotationError as error:
        says_what_to_do(error)
        session.annotate(0, labels)
        with pytest.raises(AnnotationError):
            session.segment(t)
    else:
        assert list(session.annotations.frames) == [int(t)]
        assert session.segment(t).t == int(t)


@pytest.mark.parametrize("method", METHODS)
def test_the_same_input_gives_the_same_masks(method, drawn, colour_weights):
    results = []
    for _ in range(2):
        session = Session(open_video(drawn[0]), QUICK[method], embedder=ColourEmbedder(colour_weights))
        session.annotate(0, drawn[1][0], complete=True)
        strokes = np.zeros((96, 128), np.uint16)
        strokes[60, 40:50] = 1
        session.annotate(5, strokes)
        torch.rand(3)  # whatever else draws numbers
        list(session.propagate())
        results.append((session.masks.labels[:], [session.masks.confidence(t) for t in range(8)]))
    np.testing.assert_array_equal(results[0][0], results[1][0])
    np.testing.assert_array_equal(results[0][1], results[1][1])
