"""Points and shapes anywhere, of any size and label: what lies on the frame is drawn, and nothing else happens."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from napari.layers import Image, Labels, Points, Shapes

from napari_pml.errors import AnnotationError
from napari_pml.types import BACKGROUND, Annotations
from napari_pml.viewer.document.drawings import restored_layers
from napari_pml.viewer.document.prompts import annotation, contents, labels_of
from odd import SPECIAL, arrays, says_what_to_do

T, H, W = 3, 12, 16
IMAGE = Image(np.zeros((T, H, W), np.uint8))

COORDINATE = st.one_of(st.floats(-40, 40), st.sampled_from([*SPECIAL, -1e9, 1e12]))
FRAME = st.one_of(st.integers(-2, T + 2).map(float), COORDINATE)
PLACE = st.tuples(FRAME, COORDINATE, COORDINATE)
LABEL = st.one_of(st.integers(-2, 5), st.sampled_from([*SPECIAL, BACKGROUND, "x", "2", None, 1.5]))


def is_possible(label) -> bool:
    try:
        return 1 <= float(label) <= BACKGROUND
    except (TypeError, ValueError):
        return False


@settings(max_examples=120)
@given(st.lists(st.tuples(PLACE, LABEL, st.one_of(st.floats(0, 50), st.just(1e30))), min_size=1, max_size=4))
def test_points_anywhere(points):
    places, labels, sizes = zip(*points, strict=True)
    # napari itself shows only sensible ones; others come from files, plugins and scripts
    layer = Points(np.zeros((len(places), 3)), size=np.array(sizes), features={"label": list(labels)})
    layer._data = np.array(places)
    found = contents(layer, IMAGE)
    for t in range(T):
        drawn = annotation(t, [layer], IMAGE)
        assert set(np.unique(drawn)) <= {0, *labels_of(layer).tolist()}
        for (frame, y, x), label in zip(places, labels, strict=True):
            if np.isfinite([frame, y, x]).all() and np.rint(frame) == t:
                assert t in found
                if is_possible(label) and 0 <= y < H - 0.5 and 0 <= x < W - 0.5:
                    assert drawn[round(y), round(x)]


@settings(max_examples=120)
@given(
    st.lists(st.tuples(COORDINATE, COORDINATE), min_size=4, max_size=4),
    FRAME,
    st.sampled_from(["line", "path", "polygon", "rectangle", "ellipse"]),
    LABEL,
    st.sampled_from([0, 1, 5, 1e4]),
)
def test_shapes_anywhere(corners, t, kind, label, width):
    vertices = np.array([(0.0, 0, 0), (0, 0, 5), (0, 5, 5), (0, 5, 0)])
    layer = Shapes([vertices[:2] if kind == "line" else vertices], shape_type=kind, edge_width=width, ndim=3)
    layer.features = {"label": [label]}
    places = np.array([(t, *corner) for corner in corners])[: len(layer.data[0])]
    layer._data_view.shapes[0]._data = places
    for frame in range(T):
        drawn = annotation(frame, [layer], IMAGE)
        assert set(np.unique(drawn)) <= {0, *labels_of(layer).tolist()}
        if not np.isfinite(places).all() or np.rint(t) != frame:
            assert not drawn.any()


def test_a_shape_that_reaches_far_covers_the_frame():
    far = np.array([(1, -1e9, -1e9), (1, -1e9, 1e9), (1, 1e9, 1e9), (1, 1e9, -1e9)])
    layer = Shapes([far / 1e8], shape_type="polygon", features={"label": [3]})
    layer._data_view.shapes[0]._data = far
    assert (annotation(1, [layer], IMAGE) == 3).all()


def test_points_outside_of_the_image_mark_nothing_inside():
    places = [(1, y, x) for y in (-99, -3, H + 2, 999) for x in (-99, -3, W + 2, 999)]
    layer = Points(places, ndim=3, size=2, features={"label": [3] * len(places)})
    assert not annotation(1, [layer], IMAGE).any()


@settings(max_examples=80)
@given(arrays((T, H, W), ["u1", "i1", "u2", "i2", "i4", "u4", "i8"]))
def test_labels_of_any_type_are_taken_or_refused(painted):
    layer = Labels(np.zeros((T, H, W), painted.dtype))
    layer._data = painted
    try:
        drawn = annotation(1, [layer], IMAGE)
    except AnnotationError as error:
        says_what_to_do(error)
        assert not 0 <= painted[1].min() <= painted[1].max() <= BACKGROUND
    else:
        np.testing.assert_array_equal(drawn, painted[1])


WHOLE = {"kind": "points", "name": "p", "data": [[1.0, 5, 5]], "sizes": [3.0], "labels": [2], "types": []}


@settings(max_examples=40)
@given(
    st.sampled_from(sorted(WHOLE)),
    st.sampled_from([None, 3, "x", [], {}, [None], [[1.0]], [[1, 2, "x"]], ["polygon"], [float("nan")], "shapes"]),
)
def test_damaged_drawings_come_back_as_strokes(field, value):
    frame = np.zeros((H, W), np.uint16)
    frame[4:7, 4:7] = 2
    annotations = Annotations((T, H, W)).with_frame(1, frame)
    damaged = WHOLE | {field: value} if value is not None else {k: v for k, v in WHOLE.items() if k != field}
    restored = restored_layers(IMAGE, annotations, [damaged, 7], None)
    np.testing.assert_array_equal(annotation(1, restored, IMAGE)[4:7, 4:7], frame[4:7, 4:7])
