import json

import numpy as np
import pandas as pd
import pytest
from pycocotools import mask as encoding
from pycocotools.coco import COCO

from napari_pml import open_video
from napari_pml.errors import ExportError
from napari_pml.io.calibration import Calibration
from napari_pml.io.coco import export_coco, run_lengths
from napari_pml.io.label_images import read_labels
from napari_pml.io.save import as_masks, save
from napari_pml.store.masks import MaskStore


def decoded(annotation):
    """What a reader of COCO makes of run lengths."""
    height, width = annotation["segmentation"]["size"]
    values = np.arange(len(annotation["segmentation"]["counts"])) % 2
    return np.repeat(values, annotation["segmentation"]["counts"]).reshape(width, height).T == 1


@pytest.mark.parametrize(
    ("mask", "counts"),
    [
        ([[0, 1], [0, 1]], [2, 2]),
        ([[1, 0], [0, 1]], [0, 1, 2, 1]),
        ([[1, 1], [1, 1]], [0, 4]),
        ([[0, 0], [0, 0]], [4]),
    ],
)
def test_run_lengths_go_down_the_columns(mask, counts):
    assert run_lengths(np.array(mask, bool)) == counts


def test_coco_holds_every_object_of_every_frame(drawn, tmp_path):
    _, truth = drawn
    export_coco(as_masks(truth), tmp_path / "masks.json")
    content = json.loads((tmp_path / "masks.json").read_text())
    assert [image["file_name"] for image in content["images"]] == [f"{t:05d}.png" for t in range(8)]
    assert len({annotation["id"] for annotation in content["annotations"]}) == 16
    for annotation in content["annotations"]:
        mask = truth[annotation["image_id"] - 1] == annotation["track_id"]
        np.testing.assert_array_equal(decoded(annotation), mask)
        assert annotation["area"] == mask.sum()
        left, top, width, height = annotation["bbox"]
        assert mask[top : top + height, left : left + width].sum() == mask.sum()
        assert mask[top].any()
        assert mask[:, left + width - 1].any()


def test_coco_and_table_have_names(drawn, tmp_path):
    for name in ("masks.json", "masks.csv"):
        save(tmp_path / name, as_masks(drawn[1]), None, Calibration(), names={2: "cup"})
    annotations = json.loads((tmp_path / "masks.json").read_text())["annotations"]
    assert {(found["track_id"], found.get("name")) for found in annotations} == {(1, None), (2, "cup")}
    table = pd.read_csv(tmp_path / "masks.csv", keep_default_na=False)
    assert set(zip(table["object"], table["name"], strict=True)) == {(1, ""), (2, "cup")}


@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")  # pycocotools under NumPy 2
def test_coco_s_own_reader_sees_the_same(drawn, tmp_path):
    _, truth = drawn
    export_coco(as_masks(truth), tmp_path / "masks.json")
    coco = COCO(tmp_path / "masks.json")
    assert len(coco.getImgIds()) == 8
    for annotation in coco.loadAnns(coco.getAnnIds()):
        mask = truth[annotation["image_id"] - 1] == annotation["track_id"]
        np.testing.assert_array_equal(coco.annToMask(annotation) == 1, mask)
        encoded = coco.annToRLE(annotation)
        assert encoding.area(encoded) == annotation["area"]
        assert encoding.toBbox(encoded).tolist() == annotation["bbox"]


def test_each_suffix_makes_its_kind_of_file(drawn, tmp_path):
    frames, truth = drawn
    masks, video = as_masks(truth), open_video(frames)
    for suffix in ("", ".tif", ".zarr", ".mp4", ".json", ".csv"):
        save(tmp_path / f"masks{suffix}", masks, video, Calibration())
    np.testing.assert_array_equal(read_labels(tmp_path / "masks" / "00003.png"), truth[3])
    for name in ("masks.tif", "masks.zarr"):
        np.testing.assert_array_equal(open_video(tmp_path / name).read(3)[..., 0], truth[3])
    overlay = open_video(tmp_path / "masks.mp4")
    assert len(overlay) == 8
    assert overlay.times == pytest.approx(np.arange(8) / 10)
    assert video.times is None
    assert len(json.loads((tmp_path / "masks.json").read_text())["images"]) == 8
    assert len(pd.read_csv(tmp_path / "masks.csv")) == 16


@pytest.mark.parametrize(
    ("name", "masks", "message"),
    [
        ("masks.npy", as_masks(np.ones((1, 4, 4), int)), "not .npy"),
        ("masks.mp4", as_masks(np.ones((1, 4, 4), int)), "Open the video"),
        ("masks.csv", MaskStore((1, 4, 4), (1, 1)), "no masks"),
        ("masks", MaskStore((1, 4, 4), (1, 1)), "no masks"),
    ],
)
def test_what_cannot_be_saved_is_explained(name, masks, message, tmp_path):
    with pytest.raises(ExportError, match=message):
        save(tmp_path / name, masks, None, Calibration())
    assert list(tmp_path.iterdir()) == []


def test_a_single_image_of_labels_is_one_frame():
    masks = as_masks(np.eye(4, dtype=np.int64))
    assert masks.shape == (1, 4, 4)
    np.testing.assert_array_equal(masks[0].labels, np.eye(4))


@pytest.mark.parametrize("labels", [np.full((2, 3, 3), -1), np.full((2, 3, 3), 65535), np.ones((2, 2, 3, 3), int)])
def test_labels_that_are_no_masks_are_refused(labels):
    with pytest.raises(ExportError):
        as_masks(labels)
