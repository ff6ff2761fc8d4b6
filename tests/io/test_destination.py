import os
import sys

import numpy as np
import pytest
from PIL import Image

from napari_pml.errors import ExportError
from napari_pml.io.destination import check_destination, written
from napari_pml.io.export import export_masks
from napari_pml.io.label_images import read_labels, write_mask_png
from napari_pml.io.save import as_masks

LABELS = np.arange(256, dtype=np.uint16).reshape(16, 16)
ON_LINUX = pytest.mark.skipif(sys.platform != "linux", reason="there are no files of the kernel's elsewhere")


def test_an_interrupted_write_leaves_the_old_file(tmp_path, monkeypatch):
    path = tmp_path / "mask.png"
    write_mask_png(LABELS, path)

    def fail(image, target, **_):
        target.write_bytes(b"half a file")
        raise OSError("disk full")

    monkeypatch.setattr(Image.Image, "save", fail)
    with pytest.raises(ExportError, match="disk full"):
        write_mask_png(LABELS * 0, path)
    monkeypatch.undo()
    np.testing.assert_array_equal(read_labels(path), LABELS)
    assert list(tmp_path.iterdir()) == [path]


def test_two_may_write_the_same_file_at_the_same_time(tmp_path):
    path = tmp_path / "report.csv"
    with written(path) as first:
        with written(path) as second:
            first.write_text("one")
            second.write_text("two")
        assert path.read_text() == "two"
    assert path.read_text() == "one"
    assert list(tmp_path.iterdir()) == [path]


def test_what_a_killed_process_left_unfinished_is_cleared_up_later(tmp_path):
    for name in (".unfinished-old.png", ".unfinished-1-masks.zarr", ".unfinished-new.png", "mine.png", ".mine"):
        (tmp_path / name).mkdir() if name.endswith(".zarr") else (tmp_path / name).touch()
        if "new" not in name:
            os.utime(tmp_path / name, (0, 0))
    write_mask_png(LABELS, tmp_path / "00000.png")
    assert {path.name for path in tmp_path.iterdir()} == {"00000.png", ".unfinished-new.png", "mine.png", ".mine"}


def test_masks_do_not_mix_with_those_of_a_longer_video(tmp_path):
    labels = np.ones((5, 8, 8), int)
    export_masks(as_masks(labels), tmp_path)
    (tmp_path / "7.png").touch()  # not named like a mask
    export_masks(as_masks(labels), tmp_path)
    with pytest.raises(ExportError, match=r"00003.png is the mask of a frame that this video, which has 3, does not"):
        export_masks(as_masks(labels[:3] * 2), tmp_path)
    assert all(read_labels(path).max() == 1 for path in tmp_path.glob("0*.png"))
    assert len(list(tmp_path.iterdir())) == 6


def test_masks_in_another_format_are_refused(tmp_path):
    masks = as_masks(LABELS[None])
    with pytest.raises(ExportError, match=r"not \.avi"):
        export_masks(masks, tmp_path / "masks.avi")
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(ExportError, match="cannot be written"):
        export_masks(masks, tmp_path / "file")


@pytest.mark.parametrize(
    "name",
    [
        "folder.tif",
        "file/masks",
        "file/masks.tif",
        "file",
        *(pytest.param(f"/proc/{n}", marks=ON_LINUX) for n in ("m", "a/m.tif")),
    ],
)
def test_a_place_that_cannot_be_written_is_refused_before_the_work(name, tmp_path):
    (tmp_path / "folder.tif").mkdir()
    (tmp_path / "file").write_text("in the way")
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(ExportError, match="Choose another"):
        check_destination(tmp_path / name)
    assert sorted(tmp_path.rglob("*")) == before


@pytest.mark.parametrize(("option", "suffix"), [("overlay", ".mp4"), ("table", ".csv"), ("coco", ".json")])
def test_so_are_places_of_everything_else(option, suffix, tmp_path):
    (tmp_path / "file").write_text("in the way")
    check_destination(tmp_path / "new" / "masks", **{option: tmp_path / "other" / f"new{suffix}"})
    with pytest.raises(ExportError, match="cannot be written"):
        check_destination(tmp_path / "masks", **{option: tmp_path / "file" / f"new{suffix}"})
    assert [path.name for path in tmp_path.iterdir()] == ["file"]
