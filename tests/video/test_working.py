"""The resolution in which networks see a video."""

import numpy as np
import pytest

from drawn_video import ColourEmbedder, draw_video, jaccard
from napari_pml.engine.session import Session
from napari_pml.errors import SettingsError
from napari_pml.types import BACKGROUND
from napari_pml.video.video import open_video
from napari_pml.video.working import WorkingVideo, working_size


@pytest.mark.parametrize(
    ("size", "resolution", "expected"),
    [
        ((480, 854), "auto", (480, 854)),
        ((100, 60), "auto", (100, 60)),
        ((1080, 1920), "auto", (480, 853)),
        ((1920, 1080), "auto", (853, 480)),
        ((2160, 3840), "auto", (480, 853)),
        ((1080, 1920), "native", (1080, 1920)),
        ((100, 60), "4x", (400, 240)),
    ],
)
def test_the_shorter_side_of_large_frames_is_480_pixels_long(size, resolution, expected):
    assert working_size(*size, resolution) == expected


@pytest.fixture(scope="module")
def large():
    """The drawn video, of which every pixel is 10 x 10: 960 x 1280."""
    frames, masks = draw_video(4)
    return (array.repeat(10, axis=1).repeat(10, axis=2) for array in (frames, masks))


def test_no_stroke_gets_lost():
    video = WorkingVideo(open_video(np.zeros((1, 1080, 1920), np.uint8)))
    labels = np.zeros((1080, 1920), np.uint16)
    labels[501, 100:1800] = 7
    labels[200:900, 1001] = BACKGROUND
    labels[3, 4] = 9
    seen = video.labels(labels, complete=False)
    assert seen.shape == (480, 853)
    assert set(np.unique(seen)) == {0, 7, 9, BACKGROUND}
    assert (seen == 7).any(axis=0).sum() > 750
    assert (seen != 0).sum() < 2 * (1700 + 700) / 2.25
    assert set(np.unique(video.labels(labels, complete=True))) <= {0, 7, BACKGROUND}


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float64])
def test_frames_are_means_of_what_is_stored(dtype):
    frames = np.random.default_rng(0).integers(0, 255, (1, 960, 1280, 3)).astype(dtype)
    video = WorkingVideo(open_video(frames))
    rgb = video.rgb(0)
    assert (rgb.shape, rgb.dtype) == ((480, 640, 3), np.float32)
    assert abs(rgb.mean() - video.native.rgb(0).mean()) < 0.01
    assert rgb.std() < 0.6 * video.native.rgb(0).std()


def test_masks_of_large_frames_follow_their_own_edges(large):
    frames, masks = large
    session = Session(open_video(frames), embedder=ColourEmbedder())
    assert session.embeddings.grid == (60, 80)
    assert session.embeddings.cell == (16, 16)
    assert session.embeddings.frame(0).shape == (3, 480, 640)
    session.annotate(0, masks[0], complete=True)
    for mask in session.propagate():
        assert mask.labels.shape == (960, 1280)
        assert mask.confidence.shape == (120, 160)
        for label in (1, 2):
            assert jaccard(mask.labels == label, masks[mask.t] == label) > 0.95, (mask.t, label)


def test_there_is_no_other_resolution(drawn):
    with pytest.raises(SettingsError, match="Choose one of auto, native, 2x, 4x"):
        Session(open_video(drawn[0]), embedder=ColourEmbedder(), resolution="3x")
