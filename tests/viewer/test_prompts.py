import numpy as np
import pytest
from napari.layers import Image, Labels, Points, Shapes

from napari_pml.errors import AnnotationError
from napari_pml.types import BACKGROUND
from napari_pml.viewer.document.prompts import annotation, can_annotate, contents, video_shape

T, H, W = 4, 20, 30


@pytest.fixture
def image() -> Image:
    return Image(np.zeros((T, H, W), np.uint8))


def box(t: float, top: float, left: float, bottom: float, right: float) -> np.ndarray:
    return np.array([[t, top, left], [t, top, right], [t, bottom, right], [t, bottom, left]])


def shapes(vertices: np.ndarray, kind: str, label: float = 3, **options) -> Shapes:
    return Shapes([vertices], shape_type=kind, features={"label": [label]}, **options)


def pixels(image: np.ndarray, label: int) -> set[tuple[int, int]]:
    return {(int(y), int(x)) for y, x in np.argwhere(image == label)}


def test_video_shape_of_grey_colour_and_multiscale():
    assert video_shape(Image(np.zeros((T, H, W)))) == (T, H, W)
    assert video_shape(Image(np.zeros((T, H, W, 3), np.uint8), rgb=True)) == (T, H, W)
    levels = [np.zeros((T, H, W)), np.zeros((T, H // 2, W // 2))]
    assert video_shape(Image(levels, multiscale=True)) == (T, H, W)


@pytest.mark.parametrize(
    ("layer", "possible"),
    [
        (Labels(np.zeros((T, H, W), np.uint8)), True),
        (Labels(np.zeros((H, W), np.uint8)), False),
        (Points(ndim=3), True),
        (Points(ndim=2), False),
        (Shapes(ndim=3), True),
        (Image(np.zeros((T, H, W))), False),
    ],
)
def test_which_layers_can_annotate(image, layer, possible):
    assert can_annotate(layer, image) is possible


def test_painted_labels_are_taken_as_they_are(image):
    painted = np.zeros((T, H, W), np.int32)
    painted[2, 3:5, 3:5] = 7
    painted[2, 9, 9] = BACKGROUND
    layer = Labels(painted)
    assert contents(layer, image).keys() == {2}
    drawn = annotation(2, [layer], image)
    assert drawn.dtype == np.uint16
    np.testing.assert_array_equal(drawn, painted[2])
    assert not annotation(1, [layer], image).any()


@pytest.mark.parametrize("wrong", [-1, BACKGROUND + 1])
def test_a_label_that_cannot_be_an_object_is_explained(image, wrong):
    painted = np.zeros((T, H, W), np.int32)
    painted[0, 0, 0] = wrong
    with pytest.raises(AnnotationError, match=r"'mine'.*untick it"):
        annotation(0, [Labels(painted, name="mine")], image)


@pytest.mark.parametrize("kind", ["rectangle", "polygon"])
def test_filled_shapes_annotate_their_inside(image, kind):
    drawn = annotation(1, [shapes(box(1, 4, 6, 8, 12), kind)], image)
    assert pixels(drawn, 3) == {(y, x) for y in range(4, 9) for x in range(6, 13)}


def test_an_ellipse_fills_the_ellipse_in_its_box(image):
    drawn = annotation(1, [shapes(box(1, 2, 4, 14, 24), "ellipse")], image) == 3
    y, x = np.mgrid[:H, :W]
    exact = ((y - 8) / 6) ** 2 + ((x - 14) / 10) ** 2 <= 1
    assert (drawn & exact).sum() / (drawn | exact).sum() > 0.85
    assert not drawn[2, 4]


@pytest.mark.parametrize("kind", ["line", "path"])
def test_lines_annotate_their_width(image, kind):
    drawn = annotation(0, [shapes(np.array([[0, 10, 5], [0, 10, 20]]), kind, edge_width=3)], image)
    assert {y for y, _ in pixels(drawn, 3)} == {9, 10, 11}
    assert {x for _, x in pixels(drawn, 3)} >= set(range(5, 21))


def test_a_point_is_the_disc_that_is_seen(image):
    drawn = annotation(0, [Points([[0, 10, 15]], size=6, features={"label": [2]})], image)
    y, x = np.mgrid[:H, :W]
    np.testing.assert_array_equal(drawn == 2, np.hypot(y - 10, x - 15) <= 3)


def test_the_smallest_point_still_marks_something(image):
    drawn = annotation(0, [Points([[0, 10.5, 15.5]], size=0.1, features={"label": [2]})], image)
    assert pixels(drawn, 2) == {(10, 15), (10, 16), (11, 15), (11, 16)}


@pytest.mark.parametrize("corner", [(0, 0), (H - 1, W - 1), (-1, W)])
def test_what_reaches_over_the_edge_is_cut_off(image, corner):
    drawn = annotation(0, [Points([[0, *corner]], size=8, features={"label": [2]})], image)
    assert (drawn == 2).any()


@pytest.mark.parametrize("label", [float("nan"), 0, -4, BACKGROUND + 1, "cat"])
def test_shapes_and_points_without_a_usable_label_say_nothing(image, label):
    assert not annotation(1, [shapes(box(1, 4, 6, 8, 12), "rectangle", label)], image).any()
    assert not annotation(0, [Points([[0, 5, 5]], features={"label": [label]})], image).any()
    assert not annotation(0, [Points([[0, 5, 5]])], image).any()


def test_points_go_over_shapes_and_shapes_over_labels_whatever_their_order(image):
    painted = np.zeros((T, H, W), np.uint16)
    painted[0] = 1
    layers = [
        Points([[0, 6, 8]], size=2, features={"label": [BACKGROUND]}),
        shapes(box(0, 4, 6, 8, 12), "rectangle", 2),
        Labels(painted),
    ]
    drawn = annotation(0, layers, image)
    assert drawn[6, 8] == BACKGROUND
    assert drawn[5, 11] == 2
    assert drawn[0, 0] == 1


def test_scale_and_translation_of_both_layers_are_respected():
    image = Image(np.zeros((T, H, W)), scale=(1, 0.5, 0.5), translate=(0, 10, 20))
    layer = Points([[1, 12, 25]], size=3, features={"label": [4]})  # world = layer: pixel (4, 10), radius 3
    drawn = annotation(1, [layer], image)
    y, x = np.mgrid[:H, :W]
    np.testing.assert_array_equal(drawn == 4, np.hypot(y - 4, x - 10) <= 3)
    assert contents(layer, image).keys() == {1}


def test_time_is_rounded_and_frames_outside_of_the_video_do_not_count(image):
    layer = Points([[1.4, 5, 5], [-3, 5, 5], [T, 5, 5]], features={"label": [1, 1, 1]})
    assert contents(layer, image).keys() == {1}
    assert contents(Shapes(ndim=3), image) == {}


@pytest.mark.parametrize("change", ["place", "size", "label"])
def test_contents_tell_which_frames_changed(image, change):
    layer = Points([[0, 5, 5], [2, 5, 5], [2, 9, 9]], features={"label": [1, 1, 2]})
    before = contents(layer, image)
    if change == "place":
        layer.data = np.add(layer.data, [[0, 0, 0], [0, 0, 0], [0, 0, 1]])
    if change == "size":
        layer.size = [10, 10, 12]
    if change == "label":
        layer.features = {"label": [1, 1, 3]}
    after = contents(layer, image)
    assert {t for t in before if before[t] != after[t]} == {2}
