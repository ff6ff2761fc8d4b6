"""Folders dropped into napari."""

import shutil

import numpy as np
import pytest
from napari.components import ViewerModel
from PIL import Image

from napari_pml.errors import AnnotationError, VideoError
from napari_pml.io.export import export_masks
from napari_pml.io.label_images import write_mask_png
from napari_pml.io.save import as_masks
from napari_pml.viewer.contributions.folders import LabelFolder, get_reader

pytestmark = pytest.mark.usefixtures("installed_plugins")


@pytest.fixture
def davis(tmp_path, drawn):
    """A dataset laid out like DAVIS, with the sequences 'a' of 8 frames and 'b' of 3; frame 2 of 'b' has no mask."""
    frames, masks = drawn
    for name, n in (("a", 8), ("b", 3)):
        (tmp_path / "JPEGImages/480p" / name).mkdir(parents=True)
        for t in range(n):
            Image.fromarray(frames[t]).save(
                tmp_path / f"JPEGImages/480p/{name}/{t:05d}.jpg", quality=100, subsampling=0
            )
            write_mask_png(masks[t], tmp_path / f"Annotations/480p/{name}/{t:05d}.png")
    (tmp_path / "Annotations/480p/b/00002.png").unlink()
    return tmp_path


def opened(path) -> ViewerModel:
    """What a person sees after dropping a folder."""
    viewer = ViewerModel()
    viewer.open(path, plugin="napari-pml")
    return viewer


def test_a_sequence_of_davis_brings_its_masks(davis, drawn):
    frames, masks = drawn
    viewer = opened(davis / "JPEGImages/480p/a")
    image, labels = viewer.layers
    assert (image.name, labels.name) == ("a", "a masks")
    assert image.rgb
    assert image.data.shape == (8, 96, 128, 3)
    viewer.dims.set_point(0, 5)
    np.testing.assert_array_equal(labels._slice.image.raw, masks[5])
    assert np.abs(np.asarray(image.data[5], int) - frames[5]).mean() < 2


def test_a_whole_dataset_opens_all_its_videos_and_shows_the_first(davis):
    viewer = opened(davis)
    assert {layer.name: layer.visible for layer in viewer.layers} == {
        "a": True, "a masks": True, "b": False, "b masks": False,
    }  # fmt: skip
    assert not np.asarray(viewer.layers["b masks"].data[2]).any()


def test_other_resolutions_and_no_resolution(davis):
    shutil.move(davis / "JPEGImages/480p", davis / "JPEGImages/Full-Resolution")
    assert [layer.name for layer in opened(davis).layers] == ["a", "b"]  # annotations are for another resolution
    shutil.move(davis / "JPEGImages/Full-Resolution/a", davis / "JPEGImages/a")
    shutil.rmtree(davis / "JPEGImages/Full-Resolution")
    shutil.move(davis / "Annotations/480p/a", davis / "Annotations/a")
    assert [layer.name for layer in opened(davis).layers] == ["a", "a masks"]


def test_a_folder_of_images_is_a_video(davis):
    shutil.rmtree(davis / "Annotations")
    (image,) = opened(davis / "JPEGImages/480p/b").layers
    assert image.data.shape == (3, 96, 128, 3)
    assert not isinstance(image.data, np.ndarray)


def test_a_folder_of_indexed_pngs_is_labels(davis, drawn):
    (labels,) = opened(davis / "Annotations/480p/a").layers
    assert type(labels).__name__ == "Labels"
    np.testing.assert_array_equal(np.asarray(labels.data), drawn[1])


@pytest.mark.parametrize("ids", [[300, 5, 300], [5, 300, 5], [300, 300, 300]])
def test_a_folder_of_masks_with_ids_beyond_255_is_labels(tmp_path, ids):
    masks = np.zeros((3, 8, 9), np.uint16)
    masks[:, 2:5] = np.array(ids)[:, None, None]
    export_masks(as_masks(masks), tmp_path / "masks")
    (labels,) = opened(tmp_path / "masks").layers
    assert type(labels).__name__ == "Labels"
    np.testing.assert_array_equal(np.asarray(labels.data), masks)


def test_16_bit_grey_beside_indexed_masks_of_other_programs_is_labels(tmp_path):
    Image.fromarray(np.full((8, 9), 300, np.uint16)).save(tmp_path / "0.png")
    write_mask_png(np.full((8, 9), 5, np.uint16), tmp_path / "1.png")
    (labels,) = opened(tmp_path).layers
    assert [labels.data[t].max() for t in range(2)] == [300, 5]


def test_a_folder_of_16_bit_grey_pictures_is_a_video(tmp_path):
    for t in range(3):
        Image.fromarray(np.full((8, 9), 1000 * t, np.uint16)).save(tmp_path / f"{t}.png")
    (image,) = opened(tmp_path).layers
    assert type(image).__name__ == "Image"
    assert image.data[2].max() == 2000


def test_labels_are_painted_over_in_memory_only(davis):
    folder = davis / "Annotations/480p/a"
    before = (folder / "00003.png").read_bytes()
    viewer = opened(folder)
    (labels,) = viewer.layers
    viewer.dims.set_point(0, 3)
    assert labels.data[3, 0, 0] == 0
    labels.paint((3, 0, 0), 9)
    labels.fill((3, 0, 20), 4)
    assert labels.data[3, 0, 0] == 9
    assert labels.data[3, 0, 40] == 4
    labels.undo()
    assert labels.data[3, 0, 40] == 0
    assert (folder / "00003.png").read_bytes() == before


def test_only_what_is_looked_at_is_read(tmp_path):
    write_mask_png(np.ones((4, 5), np.uint16), tmp_path / "0.png")
    (tmp_path / "1.png").write_bytes(b"nothing of the kind")
    write_mask_png(np.ones((9, 9), np.uint16), tmp_path / "2.png")
    labels = LabelFolder([tmp_path / f"{t}.png" for t in range(3)], (4, 5))
    assert labels[0].all()
    with pytest.raises(AnnotationError, match="cannot be read"):
        labels[1]
    with pytest.raises(AnnotationError, match="9 x 9"):
        labels[2]


def test_folders_without_images_and_files_are_left_to_other_readers(tmp_path, davis):
    (tmp_path / "empty").mkdir()
    (tmp_path / "empty" / "notes.txt").touch()
    for path in (tmp_path / "empty", davis / "JPEGImages/480p/a/00000.jpg"):
        assert get_reader(str(path)) is None
    assert get_reader([str(davis), str(davis)]) is None


def test_a_damaged_image_is_named(tmp_path):
    (tmp_path / "0.png").write_bytes(b"nothing of the kind")
    with pytest.raises(VideoError, match=r"0\.png"):
        get_reader(str(tmp_path))(str(tmp_path))
