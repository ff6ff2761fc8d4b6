"""The bundled network on real clips, a few frames of each; the whole clips are for benchmarks and eyes."""

import numpy as np
import pytest
from PIL import Image, ImageDraw

from drawn_video import jaccard
from napari_pml import BACKGROUND, Session, open_video
from napari_pml.evaluation.davis import find_sequences
from napari_pml.evaluation.measures import evaluate_masks

pytestmark = pytest.mark.slow


def strokes(shape, lines, width):
    image = Image.new("I", shape[::-1])
    draw = ImageDraw.Draw(image)
    for label, *points in lines:
        draw.line([tuple(p) for p in points], fill=label, width=width)
    return np.asarray(image)


def test_a_walking_woman_from_her_mask_in_the_first_frame(data_folder):
    lucia = next(s for s in find_sequences(data_folder / "davis2016-dev-480p") if s.name == "lucia")
    frames = np.stack([np.asarray(Image.open(path)) for path in lucia.frames[:8]])
    truth = [lucia.mask(t) for t in range(8)]
    session = Session(open_video(frames))
    session.annotate(0, truth[0], complete=True)
    masks = {mask.t: mask.labels for mask in session.propagate()}
    assert evaluate_masks([masks[t] for t in range(8)], truth).j_and_f > 0.85


def test_two_flies_from_one_stroke_each(data_folder):
    video = open_video(data_folder / "clips" / "flies-sleap.mp4")
    session = Session(open_video(np.stack([video.read(t) for t in range(0, 12, 2)])))
    lines = [
        (1, (95, 202), (170, 180)),
        (2, (212, 183), (275, 202)),
        (BACKGROUND, (30, 50), (350, 90)),
        (BACKGROUND, (60, 330), (340, 340)),
    ]
    session.annotate(0, strokes(video.shape[1:], lines, 3))
    masks = {mask.t: mask.labels for mask in session.propagate()}
    for t, labels in masks.items():
        bright = session.video.rgb(t)[..., 0] > 0.3
        assert jaccard(labels > 0, bright) > 0.5, t
        assert min((labels == 1).sum(), (labels == 2).sum()) > 800, t


def test_nuclei_in_a_tiff(data_folder):
    session = Session(open_video(data_folder / "clips" / "drosophila-embryo-nuclei.tif"))
    lines = [(1, (130, 86), (158, 78)), (2, (476, 218), (496, 208)), (BACKGROUND, (20, 150), (250, 200))]
    session.annotate(0, strokes(session.video.shape[1:], lines, 4))
    labels = session.segment(0).labels
    green = session.video.rgb(0)[..., 1]
    assert green[labels > 0].mean() > 2 * green[labels == 0].mean()
    assert all(100 < (labels == label).sum() < 3000 for label in (1, 2))
