import av
import numpy as np
import pytest
import tifffile
import zarr
from PIL import Image

from napari_pml.errors import AnnotationError, ExportError, VideoError
from napari_pml.io.export import export_masks
from napari_pml.io.label_images import are_masks, davis_palette, read_labels, write_mask_png
from napari_pml.io.overlay import contact_sheet, export_overlay, overlay_frame, overlay_palette
from napari_pml.io.save import as_masks
from napari_pml.store.masks import MaskStore
from napari_pml.types import FrameMask
from napari_pml.video.video import open_video

LABELS = np.arange(256, dtype=np.uint16).reshape(16, 16)


@pytest.fixture
def masks(drawn):
    """The true masks of the drawn video, without those of frames 2 and 7."""
    _, truth = drawn
    store = MaskStore(truth.shape, (12, 16))
    for t in (0, 1, 3, 4, 5, 6):
        store.put(FrameMask(t, truth[t], np.ones((12, 16), np.float32), 1))
    return store


def test_palette_begins_like_pascal_voc():
    first = [(0, 0, 0), (128, 0, 0), (0, 128, 0), (128, 128, 0), (0, 0, 128), (128, 0, 128), (0, 128, 128)]
    assert [tuple(colour) for colour in davis_palette()[:7].tolist()] == first
    assert davis_palette()[255].tolist() == [224, 224, 192]
    assert len(np.unique(davis_palette(), axis=0)) == 256


@pytest.mark.parametrize(
    ("labels", "mode"),
    [(LABELS, "P"), (LABELS * 250, "I;16"), (np.zeros((4, 5), np.uint16), "P"), (LABELS // 255 * 255, "P")],
)
def test_png_round_trip(labels, mode, tmp_path):
    write_mask_png(labels, tmp_path / "new folder" / "mask.png")
    back = read_labels(tmp_path / "new folder" / "mask.png")
    np.testing.assert_array_equal(back, labels)
    assert back.dtype == np.uint16
    with Image.open(tmp_path / "new folder" / "mask.png") as image:
        assert image.mode == mode
        if mode == "P":
            colours = np.asarray(image.convert("RGB"))
            np.testing.assert_array_equal(colours, davis_palette()[labels])


def save_image(path, array, mode=None):
    image = Image.fromarray(array)
    (image.convert(mode) if mode else image).save(path)


@pytest.mark.parametrize(
    ("name", "save"),
    [
        ("grey.png", lambda path: save_image(path, LABELS.astype(np.uint8) % 7)),
        ("grey-alpha.png", lambda path: save_image(path, LABELS.astype(np.uint8) % 7, "LA")),
        ("deep.png", lambda path: save_image(path, LABELS % 7)),
        ("colour.png", lambda path: save_image(path, davis_palette()[LABELS % 7])),
        ("colour-alpha.png", lambda path: save_image(path, davis_palette()[LABELS % 7], "RGBA")),
        ("mask.tif", lambda path: tifffile.imwrite(path, LABELS % 7)),
        ("mask.npy", lambda path: np.save(path, LABELS.astype(np.int64) % 7)),
    ],
)
def test_labels_are_read_from(name, save, tmp_path):
    save(tmp_path / name)
    np.testing.assert_array_equal(read_labels(tmp_path / name), LABELS % 7)


@pytest.mark.parametrize("name", ["mask.png", "mask.tif", "mask.npy", "bilevel.png"])
def test_black_and_white_means_one_object(name, tmp_path):
    inside = LABELS > 100
    if name.endswith(".png"):
        save_image(tmp_path / name, inside if name == "bilevel.png" else inside.astype(np.uint8) * 255)
    elif name.endswith(".tif"):
        tifffile.imwrite(tmp_path / name, inside.astype(np.uint8) * 255)
    else:
        np.save(tmp_path / name, inside)
    np.testing.assert_array_equal(read_labels(tmp_path / name), inside)


@pytest.mark.parametrize(
    ("name", "array", "message"),
    [
        ("photo.png", np.full((4, 5, 3), 77, np.uint8), r"colour \[77, 77, 77\], which is not in the DAVIS"),
        ("stack.tif", np.zeros((5, 4, 5), np.uint16), r"uint16 of shape \(5, 4, 5\)"),
        ("real.npy", np.full((4, 5), 0.5), "float64"),
        ("negative.npy", np.full((4, 5), -1), "from 0 to 65535"),
    ],
)
def test_other_images_are_no_labels(name, array, message, tmp_path):
    path = tmp_path / name
    {".png": save_image, ".tif": tifffile.imwrite, ".npy": np.save}[path.suffix](path, array)
    with pytest.raises(AnnotationError, match=message):
        read_labels(path)


@pytest.mark.parametrize("name", ["missing.png", "broken.png", "broken.tif", "broken.npy"])
def test_files_that_cannot_be_read_are_named(name, tmp_path):
    if name.startswith("broken"):
        (tmp_path / name).write_bytes(b"nothing good" * 10)
    with pytest.raises(AnnotationError, match=f"{name} cannot be read as a label image"):
        read_labels(tmp_path / name)


def test_masks_as_a_folder_of_png(masks, drawn, tmp_path):
    for folder in (tmp_path / "out", tmp_path / "mouse.1"):
        export_masks(masks, folder)
        assert sorted(path.name for path in folder.iterdir()) == [f"{t:05d}.png" for t in (0, 1, 3, 4, 5, 6)]
        np.testing.assert_array_equal(read_labels(folder / "00004.png"), drawn[1][4])


@pytest.mark.parametrize(("label", "dtype"), [(2, np.uint8), (300, np.uint16)])
def test_masks_as_tiff(label, dtype, masks, drawn, tmp_path):
    expected = np.where(drawn[1] == 2, label, drawn[1]).astype(np.uint16)
    expected[[2, 7]] = 0
    for t in (0, 1, 3, 4, 5, 6):
        masks.put(FrameMask(t, expected[t], masks[t].confidence, 2))
    export_masks(masks, tmp_path / "out.tif")
    found = tifffile.imread(tmp_path / "out.tif")
    assert found.dtype == dtype
    np.testing.assert_array_equal(found, expected)
    assert (tmp_path / "out.tif").stat().st_size < expected.nbytes / 5
    assert open_video(tmp_path / "out.tif").shape == expected.shape


@pytest.mark.parametrize("shape", [(3, 20, 30), (4, 20, 30), (5, 20, 3), (5, 20, 4), (1, 4, 3), (3, 3, 3)])
def test_no_axis_of_a_tiff_of_masks_is_taken_for_colours(shape, tmp_path):
    labels = np.random.default_rng(0).integers(0, 400, shape)
    export_masks(as_masks(labels), tmp_path / "out.tif")
    np.testing.assert_array_equal(tifffile.imread(tmp_path / "out.tif").reshape(shape), labels)


def test_masks_as_zarr(masks, drawn, tmp_path):
    export_masks(masks, tmp_path / "out.zarr")
    found = zarr.open_array(tmp_path / "out.zarr", mode="r")
    assert (found.shape, found.dtype, found.chunks) == (drawn[1].shape, np.uint16, (1, 96, 128))
    np.testing.assert_array_equal(found[6], drawn[1][6])
    assert not found[7].any()
    with pytest.raises(ExportError, match="exists already"):
        export_masks(masks, tmp_path / "out.zarr")
    assert [path.name for path in tmp_path.iterdir()] == ["out.zarr"]


def test_overlay_paints_objects_and_leaves_the_rest():
    rgb = np.full((20, 20, 3), 0.5, np.float32)
    labels = np.zeros((20, 20), np.uint16)
    labels[4:16, 4:16] = 1
    painted = overlay_frame(rgb, labels)
    assert (painted.shape, painted.dtype) == ((20, 20, 3), np.uint8)
    assert (painted[labels == 0] == 128).all()
    np.testing.assert_array_equal(painted[4, 4:16], [[128, 0, 0]] * 12)  # outline
    red, green, blue = painted[10, 10]  # translucent
    assert red == 128
    assert 0 < green == blue < 128


def test_overlay_separates_objects_that_touch_and_knows_many():
    labels = np.full((10, 10), 300, np.uint16)
    labels[:, 5:] = 301
    painted = overlay_frame(np.zeros((10, 10, 3), np.float32), labels)
    assert (painted[:, 4] != painted[:, 5]).any(axis=1).all()
    assert painted[5, 0].any()


def test_overlay_has_the_colours_that_objects_have_of_their_own():
    labels = np.array([[1, 1, 1, 2, 2, 2, 300, 300, 300]], np.uint16)
    painted = overlay_frame(np.zeros((1, 9, 3), np.float32), labels, overlay_palette({2: (9, 200, 7), 300: (1, 2, 3)}))
    assert painted[0, [2, 3, 6]].tolist() == [[128, 0, 0], [9, 200, 7], [1, 2, 3]]


def test_overlay_video_has_all_frames_in_even_size(masks, drawn, tmp_path):
    frames = drawn[0][:, :95, :127]
    odd = MaskStore((8, 95, 127), (12, 16))
    odd.put(FrameMask(0, masks[0].labels[:95, :127], masks[0].confidence, 1))
    export_overlay(open_video(frames), odd, tmp_path / "overlay.mp4")
    back = open_video(tmp_path / "overlay.mp4")
    assert back.shape == (8, 96, 128)
    assert back.fps == 10
    inside = drawn[1][0, :95, :127] == 2
    before, after = frames[0][inside].mean(axis=0), back.read(0)[:95, :127][inside].mean(axis=0)
    assert after[2] < before[2] - 30  # the blue square under green
    np.testing.assert_allclose(back.read(7)[:95, :127].mean(axis=(0, 1)), frames[7].mean(axis=(0, 1)), atol=6)
    with av.open(str(tmp_path / "overlay.mp4")) as container:
        assert container.streams.video[0].pix_fmt == "yuv420p"


@pytest.mark.parametrize("fps", [1 / 3600, 0.1, 29.97, 1000])
def test_an_overlay_is_as_fast_as_its_video(fps, tmp_path):
    video = open_video(np.zeros((3, 16, 16, 3), np.uint8))
    video.fps = fps
    export_overlay(video, as_masks(np.ones((3, 16, 16), int)), tmp_path / "overlay.mp4")
    assert open_video(tmp_path / "overlay.mp4").fps == pytest.approx(fps)


def test_overlay_video_is_mp4_and_leaves_nothing_after_an_error(masks, drawn, tmp_path):
    video = open_video(drawn[0])
    with pytest.raises(ExportError, match=r"not \.docx"):
        export_overlay(video, masks, tmp_path / "overlay.docx")

    class Damaged:
        shape, dtype = drawn[0].shape, drawn[0].dtype

        def __getitem__(self, t):
            if t == 5:
                raise VideoError("frame 5 is damaged")
            return drawn[0][t]

    with pytest.raises(VideoError, match="frame 5"):
        export_overlay(open_video(Damaged()), masks, tmp_path / "overlay.mp4")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(("n", "columns", "size"), [(5, 3, (960, 480)), (100, 4, (1280, 480)), (1, 4, (320, 240))])
def test_contact_sheet(n, columns, size, masks, drawn, tmp_path):
    contact_sheet(open_video(drawn[0]), masks, tmp_path / "sheet.png", columns, n)
    with Image.open(tmp_path / "sheet.png") as sheet:
        assert sheet.size == size
        first = np.asarray(sheet)[:240, :320]
    disc = first[150, 75].astype(int)  # red under red: no green left beside the video's own
    assert disc[0] > disc[1] + 60


def test_a_contact_sheet_of_very_wide_frames(tmp_path):
    labels = np.ones((3, 2, 2000), np.uint16)
    contact_sheet(open_video(labels), as_masks(labels), tmp_path / "sheet.png")
    with Image.open(tmp_path / "sheet.png") as sheet:
        assert sheet.size == (960, 1)


@pytest.mark.parametrize("kind", ["1bit", "grey", "16bit", "rgb", "rgba", "float", "float255", "int32", "16bit.tif"])
def test_binary_masks_of_any_type_show_one_object(kind, tmp_path):
    mask = np.zeros((8, 12), bool)
    mask[2:5, 3:9] = True
    white = np.uint8(255) * mask
    path = tmp_path / ("m.tif" if kind in ("float", "float255", "int32", "16bit.tif") else "m.png")
    if path.suffix == ".tif":
        types = {"float": mask.astype("f4"), "float255": white.astype("f4"), "int32": white.astype("i4")}
        tifffile.imwrite(path, types.get(kind, mask * np.uint16(65535)))
    else:
        opaque = np.full_like(white, 255)
        colours = {"rgb": np.dstack([white] * 3), "rgba": np.dstack([white] * 3 + [opaque])}
        Image.fromarray({"1bit": mask, "grey": white, "16bit": mask * np.uint16(65535), **colours}[kind]).save(path)
    np.testing.assert_array_equal(read_labels(path), mask)


def test_pictures_of_few_colours_are_no_masks(tmp_path, drawn):
    frames, masks = drawn
    for t in range(2):
        Image.fromarray(frames[t]).quantize(16).save(tmp_path / f"{t}.png")
        write_mask_png(masks[t], tmp_path / f"mask{t}.png")
        own = Image.fromarray(masks[t].astype(np.uint8))
        own.putpalette([0, 0, 0, 10, 200, 30, 220, 10, 90])
        own.save(tmp_path / f"own{t}.png")
    assert not are_masks(sorted(tmp_path.glob("[01].png")))
    assert are_masks(sorted(tmp_path.glob("mask*.png")))
    assert are_masks(sorted(tmp_path.glob("own*.png")))
