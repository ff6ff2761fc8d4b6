import base64
import io
import re
from html.parser import HTMLParser
from xml.etree import ElementTree

import numpy as np
import pytest
from PIL import Image

from napari_pml.evaluation.charts import region_chart
from napari_pml.evaluation.davis import DavisSequence
from napari_pml.evaluation.measures import Evaluation
from napari_pml.evaluation.report import write_report
from napari_pml.evaluation.results import DatasetResult, SequenceResult, Setup, Unscored, mask_path
from napari_pml.evaluation.worst_frames import MISSED, OPACITY, RIGHT, WRONG, picture, worst_frames
from napari_pml.io.label_images import write_mask_png
from napari_pml.methods.pml.pml import PmlConfig

SETUP = Setup("shapes/480p", PmlConfig(), "compact", "compact-1", "cpu", "0.1.0")


def result(name, region):
    """A result with J of one object a row, and F of 0.8."""
    region = np.atleast_2d(np.array(region, float))
    evaluation = Evaluation(tuple(range(1, len(region) + 1)), region, np.full_like(region, 0.8))
    return SequenceResult(name, SETUP, "content", evaluation, (0.25,) * (region.shape[1] + 2), 1.5, "cpu", 2)


@pytest.fixture
def sequence(tmp_path):
    """Grey frames of 96 x 128; the true object is a square of 32 x 32, we found it 16 pixels too far right."""
    truth = np.zeros((96, 128), np.uint16)
    truth[32:64, 48:80] = 1
    names = [f"{t:05d}.png" for t in range(6)]
    for folder in ("frames", "truth"):
        (tmp_path / folder).mkdir()
    for name in names:
        Image.fromarray(np.full((96, 128, 3), 100, np.uint8)).save(tmp_path / "frames" / name)
        write_mask_png(truth, tmp_path / "truth" / name)
    sequence = DavisSequence(
        "square",
        tuple(tmp_path / "frames" / name for name in names),
        tuple(tmp_path / "truth" / name for name in names),
    )
    for t in range(6):
        write_mask_png(np.roll(truth, 16, axis=1), mask_path(tmp_path / "out", sequence, t))
    return sequence


@pytest.fixture
def page(sequence, tmp_path):
    def page(*results, **more):
        return write_report(DatasetResult(SETUP, results, **more), [sequence], tmp_path / "out").read_text("utf-8")

    return page


class Elements(HTMLParser):
    """Every element's name and attributes; wrongly nested ones fail."""

    def __init__(self, text):
        super().__init__()
        self.found, self.open = [], []
        self.feed(text)
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        self.found.append((tag, dict(attrs)))
        if tag not in ("meta", "img"):
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.found.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


def test_the_page_is_well_formed_and_needs_nothing_else(page):
    elements = Elements(page(result("square", [0.9, 0.8, 0.7, 0.6]))).found
    links = [value for _, attributes in elements for name, value in attributes.items() if name in ("src", "href")]
    assert links
    assert all(link.startswith("data:image/jpeg;base64,") for link in links)
    assert not {"script", "link", "iframe"} & {tag for tag, _ in elements}


def test_the_page_tells_the_figures_and_the_published_ones(page):
    text = page(result("square", [0.9, 0.8, 0.7, 0.4]))
    ours = re.search(r'<tr class="ours"><td>this evaluation</td>(.*?)</tr>', text).group(1)
    cells = re.findall(r"<td[^>]*>(.*?)</td>", ours)
    # mean 0.7; three of four above a half; decay: frames 1 and 2 minus 3 and 4; four frames a second
    assert cells == ["70.0", "75.0", "30.0", "80.0", "100.0", "0.0", "75.0", "0.250", "shapes/480p, 1 sequence"]
    for published in ("75.5", "89.6", "8.5", "FEELVOS", "arXiv:1611.05198", "20 validation sequences"):
        assert published in text
    assert "4.00" in text
    assert "2 CPU threads" in text


def test_objects_are_folded_out_only_where_there_are_several(page):
    assert "Every object" not in page(result("square", [0.9, 0.8, 0.7, 0.6]))
    assert "Every object" in page(result("square", [[0.9, 0.8, 0.7, 0.6]] * 2))


def test_remarks_and_missing_sequences_are_told_as_they_are_written(page):
    unscored = (Unscored("bus", "Its mask is <broken>.", failed=True), Unscored("late", "It is empty.", failed=False))
    text = page(result("square", [0.9] * 4), unscored=unscored, remark="Made by <b>a tracker</b> & not by hand.")
    assert "Made by &lt;b&gt;a tracker&lt;/b&gt; &amp; not by hand." in text
    assert "bus failed: Its mask is &lt;broken&gt;." in text
    assert "late is left out: It is empty." in text


def test_the_chart_shows_every_object_and_their_mean():
    svg = ElementTree.fromstring(region_chart(np.array([[1.0, 0.5, 0.0], [1.0, 0.0, 0.0]]), "a & b"))
    lines = [line.get("points").split() for line in svg.iter("polyline")]
    one, other, mean = ([tuple(map(float, point.split(","))) for point in line] for line in lines)
    top, bottom = one[0][1], one[2][1]
    assert top < bottom  # in an image, up is small
    assert one[1][1] == (top + bottom) / 2
    assert other[1][1] == bottom
    assert mean[1][1] == pytest.approx(bottom - (bottom - top) / 4, abs=0.1)
    assert svg.get("aria-label") == "J of a & b over its frames"


def test_a_single_frame_is_a_point():
    assert len(list(ElementTree.fromstring(region_chart(np.array([[0.5]]), "a")).iter("circle"))) == 1


def test_the_worst_frames_come_first_and_are_not_neighbours():
    dip = np.ones(40)
    dip[18:23] = 0.2, 0.1, 0.0, 0.1, 0.2
    found = worst_frames((result("dip", dip), result("even", np.full(40, 0.5))), 4)
    assert [(r.sequence, t) for r, t in found[:2]] == [("dip", 21), ("even", 1)]
    assert [r.sequence for r, _ in found].count("dip") == 2
    times = [t for r, t in found if r.sequence == "dip"]
    assert abs(times[0] - times[1]) >= 5


def test_there_are_never_more_worst_frames_than_asked_for():
    assert len(worst_frames(tuple(result(str(i), [i / 20] * 5) for i in range(20)), 12)) == 12
    assert [r.sequence for r, _ in worst_frames((result("a", [0.9]), result("b", [0.1])), 12)] == ["b", "a"]


def test_a_picture_shows_right_wrong_and_missed(sequence, tmp_path):
    address = picture(sequence, tmp_path / "out", 2)
    image = np.asarray(Image.open(io.BytesIO(base64.b64decode(address.partition(",")[2]))), float)
    # truth and find cover columns 48 to 95 and rows 32 to 63: the part is centred on (48, 72), 56 rows and 72 to 76
    # columns; its middle row crosses missed, right and wrong, 16 columns each
    row = image[len(image) // 2]
    middle, step = len(row) / 2, 16 * len(row) / 75
    for colour, place in ((MISSED, -1), (RIGHT, 0), (WRONG, 1)):
        expected = (1 - OPACITY) * 100 + OPACITY * np.array(colour)
        assert np.abs(row[round(middle + place * step)] - expected).max() < 12
    assert np.abs(row[5] - 100).max() < 12  # nothing there


def test_a_picture_of_empty_masks(sequence, tmp_path):
    empty = np.zeros((96, 128), np.uint16)
    write_mask_png(empty, sequence.masks[3])
    write_mask_png(empty, mask_path(tmp_path / "out", sequence, 3))
    assert picture(sequence, tmp_path / "out", 3).startswith("data:image/jpeg")
