"""Annotations of labelme and CVAT become labels with names."""

import base64
import io
import json

import numpy as np
import pytest
from PIL import Image

from napari_pml import open_video
from napari_pml.engine.annotation_files import AnnotationFiles
from napari_pml.engine.session import Session
from napari_pml.errors import AnnotationError
from napari_pml.io.label_files import NamedLabels, key_frames, read_annotation
from napari_pml.io.label_images import write_mask_png
from napari_pml.types import BACKGROUND

HEIGHT, WIDTH = 12, 20


def square(top, left, size=4):
    mask = np.zeros((HEIGHT, WIDTH), bool)
    mask[top : top + size, left : left + size] = True
    return mask


def labelme(path, *shapes):
    content = {"version": "5.5.0", "shapes": shapes, "imageHeight": HEIGHT, "imageWidth": WIDTH, "imageData": None}
    path.write_text(json.dumps(content))
    return path


def polygon(label, top, left, group=None):
    """The outline through the middles of the outermost pixels of a square of 4 x 4."""
    points = [[left, top], [left + 3, top], [left + 3, top + 3], [left, top + 3]]
    return {"label": label, "points": points, "group_id": group, "shape_type": "polygon"}


def cvat(path, *images):
    body = "".join(f'<image id="{t}" name="{t}.png" width="20" height="12">{shapes}</image>' for t, shapes in images)
    path.write_text(f'<?xml version="1.0" encoding="utf-8"?><annotations><version>1.1</version>{body}</annotations>')
    return path


def test_outlines_of_labelme(tmp_path):
    path = labelme(tmp_path / "a.json", polygon("cell", 1, 2), polygon("dog", 1, 9), polygon("cell", 7, 2))
    found = read_annotation(path, 5)
    assert found.labels.dtype == np.uint16
    assert found.names == {1: "cell", 2: "dog", 3: "cell 2"}
    np.testing.assert_array_equal(found.labels, square(1, 2) + 2 * square(1, 9) + 3 * square(7, 2))


def test_shapes_of_a_group_are_one_object(tmp_path):
    shapes = polygon("dog", 1, 2, group=7), polygon("dog", 1, 9, group=7), polygon("dog", 7, 2, group=8)
    found = read_annotation(labelme(tmp_path / "a.json", *shapes), 0)
    assert found.names == {1: "dog (7)", 2: "dog (8)"}
    np.testing.assert_array_equal(found.labels == 1, square(1, 2) | square(1, 9))


def test_a_name_that_looks_like_an_ordinal_or_a_group_is_an_object_of_its_own(tmp_path):
    shapes = polygon("cell", 1, 2), polygon("cell", 1, 9), polygon("cell 2", 7, 2), polygon("cell (7)", 7, 9)
    grouped = polygon("cell", 1, 14, group=7), polygon("cell", 7, 14, group=7)
    for order in (shapes + grouped, grouped + shapes):
        found = read_annotation(labelme(tmp_path / "a.json", *order), 0)
        assert set(found.names.values()) == {"cell", "cell 2", "cell 3", "cell (7)", "cell (7) 2"}
        number = {name: label for label, name in found.names.items()}
        np.testing.assert_array_equal(found.labels == number["cell 2"], square(7, 2))
        np.testing.assert_array_equal(found.labels == number["cell 3"], square(1, 9))
        np.testing.assert_array_equal(found.labels == number["cell (7)"], square(7, 9))
        np.testing.assert_array_equal(found.labels == number["cell (7) 2"], square(1, 14) | square(7, 14))


def test_an_ordinal_is_the_same_on_every_frame_of_cvat(tmp_path):
    box = '<box label="{}" xtl="{}" ytl="1" xbr="{}" ybr="5"/>'
    cells = box.format("cell", 1, 5) + box.format("cell", 6, 10)
    path = cvat(tmp_path / "a.xml", (0, cells), (1, cells + box.format("cell 2", 11, 15)))
    assert read_annotation(path, 0).names == {1: "cell", 2: "cell 3"}
    assert read_annotation(path, 1).names == {1: "cell", 2: "cell 3", 3: "cell 2"}


def test_every_kind_of_shape_of_labelme_that_has_an_inside(tmp_path):
    png = io.BytesIO()
    Image.fromarray(np.eye(3) > 0).save(png, "PNG")
    bits = base64.b64encode(png.getvalue()).decode()
    kinds = (
        {"label": "box", "shape_type": "rectangle", "points": [[5, 4], [2, 1]]},
        {"label": "disc", "shape_type": "circle", "points": [[10, 5], [10, 7]]},
        {"label": "bits", "shape_type": "mask", "points": [[15, 6], [17, 8]], "mask": bits},
    )  # fmt: skip
    labels = read_annotation(labelme(tmp_path / "a.json", *kinds), 0).labels
    np.testing.assert_array_equal(labels == 1, square(1, 2))
    assert (labels == 2).sum() == pytest.approx(np.pi * 2.5**2, rel=0.2)
    assert [axis.mean() for axis in np.nonzero(labels == 2)] == [5, 10]
    np.testing.assert_array_equal(np.argwhere(labels == 3), [[6, 15], [7, 16], [8, 17]])


def test_shapes_of_cvat(tmp_path):
    """Its coordinates count from the corner of the first pixel, and its masks from their own corner."""
    shapes = (
        '<mask label="bits" rle="1, 2, 1" left="16" top="8" width="2" height="2" z_order="0"/>'
        '<polygon label="cell" points="2.5,1.5;5.5,1.5;5.5,4.5;2.5,4.5" z_order="0"/>'
        '<box label="cell" xtl="9" ytl="1" xbr="13" ybr="5" z_order="0"/>'
        '<ellipse label="disc" cx="10.5" cy="8.5" rx="2" ry="1" z_order="1"/><tag label="blurred"/>'
    )
    found = read_annotation(cvat(tmp_path / "annotations.xml", (3, shapes)), 3)
    assert found.names == {1: "bits", 2: "cell", 3: "cell 2", 4: "disc"}
    np.testing.assert_array_equal(np.argwhere(found.labels == 1), [[8, 17], [9, 16]])
    np.testing.assert_array_equal(found.labels == 2, square(1, 2))
    np.testing.assert_array_equal(found.labels == 3, square(1, 9))
    assert [axis.mean() for axis in np.nonzero(found.labels == 4)] == [8, 10]


def test_turned_shapes_of_cvat(tmp_path):
    """It gives the shape as it was before it was turned, and the degrees clockwise about its middle."""
    shapes = (
        '<box label="quarter" rotation="90.0" xtl="1" ytl="3" xbr="7" ybr="5"/>'
        '<box label="odd" rotation="270" xtl="14" ytl="2" xbr="18" ybr="5"/>'
        '<ellipse label="upright" rotation="90" cx="10.5" cy="5.5" rx="4" ry="1"/>'
    )
    labels = read_annotation(cvat(tmp_path / "a.xml", (0, shapes)), 0).labels
    quarter = np.zeros((HEIGHT, WIDTH), bool)
    quarter[1:7, 3:5] = True
    np.testing.assert_array_equal(labels == 1, quarter)
    assert [np.ptp(axis) + 1 for axis in np.nonzero(labels == 2)] == [4, 3]
    assert (labels == 2).sum() == 12
    assert [axis.mean() for axis in np.nonzero(labels == 3)] == [5, 10]
    assert [np.ptp(axis) + 1 for axis in np.nonzero(labels == 3)] == [9, 3]


@pytest.mark.parametrize("kind", ['box label="bar" xtl="2" ytl="5" xbr="16" ybr="7"',
                                  'ellipse label="bar" cx="9" cy="6" rx="7" ry="1"'])  # fmt: skip
def test_shapes_of_cvat_turn_clockwise(tmp_path, kind):
    path = cvat(tmp_path / "a.xml", (0, f'<{kind} rotation="30"/>'))
    rows, columns = np.nonzero(read_annotation(path, 0).labels)
    slope = np.polyfit(columns, rows, 1)[0]
    assert np.degrees(np.arctan(slope)) == pytest.approx(30, abs=4)  # rows grow downwards: the right end is lower
    assert (rows.mean(), columns.mean()) == pytest.approx((5.5, 8.5), abs=0.3)


def test_what_lies_above_in_cvat_covers_what_lies_below(tmp_path):
    box = '<box label="{}" xtl="2" ytl="1" xbr="6" ybr="5" z_order="{}"/>'
    path = cvat(tmp_path / "a.xml", (0, box.format("above", 2) + box.format("below", 1)))
    found = read_annotation(path, 0)
    assert found.names[found.labels[2, 3]] == "above"


def test_a_file_of_many_frames_is_asked_for_one(tmp_path):
    box = '<box label="cell" xtl="{0}" ytl="1" xbr="{1}" ybr="5"/>'
    path = cvat(tmp_path / "a.xml", (0, box.format(2, 6)), (80, box.format(9, 13)))
    np.testing.assert_array_equal(read_annotation(path, 80).labels, square(1, 9))
    with pytest.raises(AnnotationError, match=r"a.xml: it holds nothing for frame 5, only for \[0, 80\]"):
        read_annotation(path, 5)


def test_an_object_is_known_by_its_name_on_another_frame():
    labels = np.array([[0, 1, 2, 3]], np.uint16)
    found = NamedLabels(labels, {1: "dog", 2: "cat", 3: "bird"})
    again = found.renumbered({4: "cat", 7: "dog", 9: ""})
    assert again.names == {7: "dog", 4: "cat", 1: "bird"}
    np.testing.assert_array_equal(again.labels, [[0, 7, 4, 1]])
    np.testing.assert_array_equal(NamedLabels(labels).renumbered({1: "dog"}).labels, labels)  # numbers are meant


@pytest.mark.parametrize(
    ("masks", "strokes"),
    [(["0=mask.png", "5=a.json"], []), (["5=a.json", "0=mask.png"], []), (["5=a.json"], ["0=mask.png"])],
)
def test_an_object_with_a_name_is_not_one_that_has_a_number_in_another_file(
    tmp_path, drawn, colour_embedder, masks, strokes
):
    outline = {"label": "cell", "shape_type": "rectangle", "points": [[20, 30], [60, 70]]}
    (tmp_path / "a.json").write_text(json.dumps({"shapes": [outline], "imageWidth": 128, "imageHeight": 96}))
    write_mask_png(drawn[1][0], tmp_path / "mask.png")
    session = Session(open_video(drawn[0]), embedder=colour_embedder)
    AnnotationFiles.parse(masks, strokes, tmp_path).annotate(session)
    assert session.object_ids == (1, 2, 3)
    assert session.annotations.frames[5][50, 40] == 3
    assert session.annotations.complete == ({5} if strokes else {0, 5})


def test_no_object_gets_the_number_of_background():
    found = NamedLabels(np.array([[1, 2]], np.uint16), {1: "dog", 2: "cat"})
    assert found.renumbered({1: "", BACKGROUND - 1: "bird"}).names == {2: "dog", 3: "cat"}
    full = dict.fromkeys(range(1, BACKGROUND - 1), "")
    with pytest.raises(AnnotationError, match=r"no number left for 'cat'.*Remove objects"):
        found.renumbered(full)
    assert found.renumbered(full | {9: "cat"}).names == {BACKGROUND - 1: "dog", 9: "cat"}


def test_no_file_asks_for_more_memory_than_an_image_has(tmp_path, monkeypatch):
    monkeypatch.setattr("napari_pml.disk.untrusted.MAX_PIXELS", HEIGHT * WIDTH)
    read_annotation(labelme(tmp_path / "a.json", polygon("cell", 1, 2)), 0)
    monkeypatch.setattr("napari_pml.disk.untrusted.MAX_PIXELS", HEIGHT * WIDTH - 1)
    with pytest.raises(AnnotationError, match=r"a.json: it claims to be of 20 x 12 pixels"):
        read_annotation(tmp_path / "a.json", 0)


def test_label_images_are_read_as_ever(tmp_path):
    Image.fromarray(np.eye(4, dtype=np.uint8) * 3).save(tmp_path / "mask.png")
    found = read_annotation(tmp_path / "mask.png", 0)
    assert found.names == {}
    np.testing.assert_array_equal(found.labels, np.eye(4) * 3)


@pytest.mark.parametrize(
    ("kind", "points"),
    [
        ("rectangle", "[[3, 3]]"),
        ("rectangle", "[[Infinity, 1], [2, 2]]"),
        ("polygon", "[[NaN, 1], [2, 2], [3, 8]]"),
        ("polygon", "[[1e400, 1], [2, 2], [3, 8]]"),
        ("polygon", "[[1e12, 1], [2, 2], [3, 8]]"),
        ("circle", "[[5, 5], [1e7, 5]]"),
        ("polygon", "[" * 100_000),
    ],
)
def test_no_shape_is_painted_from_impossible_numbers(tmp_path, kind, points):
    shape = f'{{"label": "dog", "shape_type": "{kind}", "points": {points}}}'
    (tmp_path / "a.json").write_text(f'{{"shapes": [{shape}], "imageWidth": 9, "imageHeight": 9}}')
    with pytest.raises(AnnotationError, match=r"a.json cannot be read as a .json of labelme"):
        read_annotation(tmp_path / "a.json", 0)


@pytest.mark.parametrize(
    "shape",
    [
        '<box label="dog" xtl="inf" ytl="1" xbr="3" ybr="4"/>',
        '<box label="dog" xtl="1" ytl="1" xbr="3" ybr="4" rotation="nan"/>',
        '<polygon label="dog" points="1,1;nan,2;3,8"/>',
        '<ellipse label="dog" cx="5" cy="5" rx="1e9" ry="2"/>',
        '<mask label="dog" rle="0,4" left="99999999999999999999" top="0" width="2" height="2"/>',
    ],
)
def test_nor_in_cvat(tmp_path, shape):
    with pytest.raises(AnnotationError, match=r"a.xml cannot be read as .* an .xml of CVAT"):
        read_annotation(cvat(tmp_path / "a.xml", (0, shape)), 0)


@pytest.mark.parametrize(
    ("name", "content", "complaint"),
    [
        ("a.json", "{", "cannot be read as a .json of labelme"),
        ("a.json", "[]", "cannot be read as a .json of labelme"),
        ("a.json", '{"shapes": [{"label": "dog", "shape_type": "line", "points": []}]}', "a.json: 'dog' is a line"),
        ("a.xml", "<annotations>", "cannot be read"),
        ("a.xml", '<annotations><track id="0"/></annotations>', "nothing for frame 0. Give one of its key frames"),
        ("a.xml", '<annotations><image id="0"><polyline label="dog"/></image></annotations>', "'dog' is a polyline"),
        ("a.xml", '<annotations><image id="0" width="9" height="9"><mask label="dog" rle="1, 2" left="0" top="0" '
         'width="2" height="2"/></image></annotations>', "cannot be read"),
        ("a.xml", '<annotations><image id="0" width="9" height="9"><mask label="dog" rle="0, 99999999999999" left="0" '
         'top="0" width="2" height="2"/></image></annotations>', "a mask of 2 x 2 pixels has 99999999999999"),
    ],
)  # fmt: skip
def test_what_cannot_be_understood_is_explained(tmp_path, name, content, complaint):
    (tmp_path / name).write_text(content)
    with pytest.raises(AnnotationError, match=complaint):
        read_annotation(tmp_path / name, 0)


def test_rectangles_of_x_anylabeling(tmp_path):
    def shape(kind, *points):
        return {"label": "cell", "score": None, "points": points, "group_id": None, "shape_type": kind, "flags": {}}

    def read(*shapes, encoding="utf-8"):
        content = {"version": "2.5.4", "shapes": shapes, "imagePath": "0.jpg", "imageHeight": 40, "imageWidth": 60}
        (tmp_path / "x.json").write_text(json.dumps(content), encoding=encoding)
        return read_annotation(tmp_path / "x.json", 0).labels

    four = read(shape("rectangle", [10, 5], [30, 5], [30, 25], [10, 25]))
    np.testing.assert_array_equal(four, read(shape("rectangle", [30, 25], [10, 5])))
    assert four.sum() == 21 * 21
    turned = read(shape("rotation", [20, 5], [35, 20], [20, 35], [5, 20]))
    assert turned[20, 20] == 1
    assert abs(int(turned.sum()) - 450) < 35
    np.testing.assert_array_equal(four, read(shape("rectangle", [30, 25], [10, 5]), encoding="utf-8-sig"))


TRACKS = """<annotations><version>1.1</version>
<meta><task><start_frame>4</start_frame><frame_filter>step=5</frame_filter>
<original_size><width>60</width><height>40</height></original_size></task></meta>
<track id="0" label="mouse"><box frame="0" keyframe="1" outside="0" xtl="5" ytl="5" xbr="15" ybr="10"/>
<box frame="1" keyframe="0" outside="0" xtl="7" ytl="5" xbr="17" ybr="10"/>
<box frame="2" keyframe="1" outside="1" xtl="9" ytl="5" xbr="19" ybr="10"/></track>
<track id="1" label="mouse"><polygon frame="2" keyframe="1" outside="0" points="30,20;50,20;50,30;30,30"/></track>
</annotations>"""


def test_tracks_of_cvat_are_objects_on_their_key_frames(tmp_path):
    path = tmp_path / "v.xml"
    path.write_text(TRACKS)
    assert key_frames(path) == [4, 14]
    first, between, last = (read_annotation(path, t) for t in (4, 9, 14))
    assert (first.names, last.names) == ({1: "mouse"}, {1: "mouse 2"})
    assert first.labels.shape == (40, 60)
    assert first.labels[5:10, 5:15].all()
    assert first.labels.sum() == between.labels.sum() == 50
    assert between.labels[7, 16] == 1
    assert last.labels[25, 40] == 1
    assert not last.labels[7, 12]
    with pytest.raises(AnnotationError, match="nothing for frame 5"):
        read_annotation(path, 5)
    path.write_text(TRACKS.replace("<original_size>", "<other>").replace("</original_size>", "</other>"))
    assert read_annotation(path, 4, (50, 70)).labels.shape == (50, 70)


def test_images_of_cvat_are_known_by_the_frame_in_their_names(tmp_path):
    box = '<box label="a" xtl="{}" ytl="5" xbr="9" ybr="9"/>'
    image = f'<image id="{{}}" name="frame_{{:06d}}" width="60" height="40">{box}</image>'
    (tmp_path / "i.xml").write_text(f"<annotations>{image.format(0, 0, 1)}{image.format(1, 5, 5)}</annotations>")
    assert read_annotation(tmp_path / "i.xml", 5).labels.sum() == 16
    with pytest.raises(AnnotationError, match=r"nothing for frame 1, only for \[0, 5\]"):
        read_annotation(tmp_path / "i.xml", 1)
