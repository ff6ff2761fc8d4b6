"""Folders, TIFFs and Zarr as microscopes and programs write them: every frame with its own values, upright."""

import numpy as np
import pytest
import tifffile
import zarr
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, ImageOps

from napari_pml.errors import VideoError
from napari_pml.video.indexing import take
from napari_pml.video.video import open_video

RNG = np.random.default_rng(0)
GREY = RNG.integers(0, 4000, (4, 16, 24)).astype(np.uint16)
COLOUR = RNG.integers(0, 4000, (4, 16, 24, 3)).astype(np.uint16)


def frames_of(video):
    frames = np.stack([video.read(t) for t in range(len(video))])
    return frames[..., 0] if video.n_channels == 1 else frames


def save(folder, frames, **options):
    folder.mkdir(exist_ok=True)
    for t, frame in enumerate(frames):
        own = {name: value[t % 2] if isinstance(value, list) else value for name, value in options.items()}
        tifffile.imwrite(folder / f"{t}.tif", frame, **own)
    return folder


@pytest.mark.parametrize("compression", [None, "lzw", "zlib", "zstd", "packbits", "lzma", "jpeg", "jpeg2000"])
def test_compressed_stacks_and_folders(compression, tmp_path):
    frames = (GREY // 16).astype(np.uint8)
    predictor = {"predictor": 2} if compression in ("lzw", "zlib", "zstd") else {}
    tifffile.imwrite(tmp_path / "a.tif", frames, compression=compression, photometric="minisblack", **predictor)
    folder = save(tmp_path / "folder", frames, compression=compression, photometric="minisblack", **predictor)
    expected = tifffile.imread(tmp_path / "a.tif")
    np.testing.assert_array_equal(frames_of(open_video(tmp_path / "a.tif")), expected)
    np.testing.assert_array_equal(frames_of(open_video(folder)), expected)


@pytest.mark.parametrize("dtype", ["u1", "i1", "u2", "i2", "u4", "i4", "f2", "f4", "f8"])
@pytest.mark.parametrize("colour", [False, True], ids=["grey", "colour"])
def test_every_type_keeps_its_values(dtype, colour, tmp_path):
    frames = (COLOUR if colour else GREY).astype(dtype)
    options = {"photometric": "rgb" if colour else "minisblack"}
    video = open_video(save(tmp_path / "folder", frames, byteorder=[">", "<"], **options))
    assert video.dtype == np.dtype(dtype)
    np.testing.assert_array_equal(frames_of(video), frames)
    tifffile.imwrite(tmp_path / "a.tif", frames, byteorder=">", **options)
    np.testing.assert_array_equal(frames_of(open_video(tmp_path / "a.tif")), frames)


def test_colour_in_planes_and_in_pngs_of_16_bits(tmp_path):
    import imagecodecs

    folder = save(tmp_path / "planes", np.moveaxis(COLOUR, -1, 1), photometric="rgb", planarconfig="separate")
    np.testing.assert_array_equal(frames_of(open_video(folder)), COLOUR)
    (tmp_path / "png").mkdir()
    for t, frame in enumerate(COLOUR):
        (tmp_path / f"png/{t}.png").write_bytes(imagecodecs.png_encode(frame))
    video = open_video(tmp_path / "png")
    assert video.dtype == np.uint16
    np.testing.assert_array_equal(frames_of(video), COLOUR)


def test_depths_and_colours_may_be_mixed(tmp_path):
    dark = GREY[0] % 256
    Image.fromarray(dark.astype(np.uint8)).save(tmp_path / "0.png")
    Image.fromarray(GREY[1]).save(tmp_path / "1.png")
    tifffile.imwrite(tmp_path / "2.tif", GREY[2].astype(np.float32))
    np.testing.assert_array_equal(frames_of(open_video(tmp_path)), [dark, GREY[1], GREY[2]])
    tifffile.imwrite(tmp_path / "3.tif", COLOUR[3], photometric="rgb")
    frames = frames_of(open_video(tmp_path))
    np.testing.assert_array_equal(frames[1], np.repeat(GREY[1][..., None], 3, axis=2))
    np.testing.assert_array_equal(frames[3], COLOUR[3])


@pytest.mark.parametrize("suffix", [".jpg", ".png", ".webp", ".tif"])
def test_photographs_stand_upright(suffix, tmp_path):
    quarters = np.zeros((16, 32, 3), np.uint8)
    quarters[:8, :16], quarters[:8, 16:], quarters[8:, :16] = 255, (255, 0, 0), (0, 0, 255)
    shapes = set()
    for orientation in range(1, 9):
        folder = tmp_path / str(orientation)
        folder.mkdir()
        path = folder / f"0{suffix}"
        if suffix == ".tif":
            tifffile.imwrite(path, quarters, photometric="rgb", extratags=[(274, "H", 1, orientation, True)])
        else:
            exif = Image.Exif()
            exif[0x0112] = orientation
            Image.fromarray(quarters).save(path, exif=exif, quality=95, lossless=True)
        with Image.open(path) as image:
            expected = np.asarray(image if suffix == ".tif" else ImageOps.exif_transpose(image))  # Pillow turns TIFFs
            if suffix == ".tif":
                image.load()
                expected = np.asarray(image)
        video = open_video(folder)
        assert video.shape == (1, *expected.shape[:2])
        assert np.abs(video.read(0).astype(int) - expected).mean() < 3, orientation
        shapes.add(video.shape)
    assert len(shapes) == 2


def test_masks_beside_images_are_no_frames(tmp_path):
    for t in range(3):
        tifffile.imwrite(tmp_path / f"img{t}.tif", GREY[t])
        Image.fromarray(GREY[t]).save(tmp_path / f"img{t}{('_cp_masks', '_masks', '_seg')[t]}.png")
    with pytest.warns(UserWarning, match=r"3 images of .* such as img0_cp_masks\.png, are masks"):
        video = open_video(tmp_path)
    np.testing.assert_array_equal(frames_of(video), GREY[:3])
    for path in tmp_path.glob("*.tif"):
        path.unlink()
    assert len(open_video(tmp_path)) == 3  # of nothing else, they are what there is


def test_one_damaged_image_does_not_end_a_folder(tmp_path):
    for t in range(4):
        Image.fromarray(GREY[t].astype(np.uint8)).save(tmp_path / f"{t}.png")
    content = (tmp_path / "2.png").read_bytes()
    (tmp_path / "2.png").write_bytes(content[: len(content) // 2])
    video = open_video(tmp_path)
    with pytest.warns(UserWarning, match=r"2\.png cannot be read.*repeat"):
        frames = frames_of(video)
    np.testing.assert_array_equal(frames, GREY[[0, 1, 1, 3]].astype(np.uint8))
    assert video.damaged == [2]
    with pytest.raises(VideoError, match=r"2\.png cannot be read"):
        open_video(tmp_path, strict=True).read(2)


@pytest.mark.parametrize("suffix", ["lsm", "stk", "btf", "tf8", "TIFF"])
def test_every_suffix_of_tiff(suffix, tmp_path):
    tifffile.imwrite(tmp_path / f"film.{suffix}", GREY, bigtiff=True, photometric="minisblack")
    np.testing.assert_array_equal(frames_of(open_video(tmp_path / f"film.{suffix}")), GREY)


def test_positions_channels_and_planes_are_chosen(tmp_path):
    path = tmp_path / "a.ome.tif"
    with tifffile.TiffWriter(path, ome=True) as tiff:
        for position in range(3):
            tiff.write(GREY + position, metadata={"axes": "TYX", "Name": f"well {position}"})
    with pytest.raises(VideoError, match=r"3 positions \(well 0, well 1, well 2\).*--position 0"):
        open_video(path)
    with pytest.raises(VideoError, match="no position 3, only 0 to 2"):
        open_video(path, position=3)
    np.testing.assert_array_equal(frames_of(open_video(path, position=2)), GREY + 2)

    film = np.stack([np.stack([GREY + 10 * c + z for z in range(2)], 1) for c in range(2)], 2)
    tifffile.imwrite(path, film, metadata={"axes": "TZCYX"})
    with pytest.raises(VideoError, match="2 planes"):
        open_video(path)
    np.testing.assert_array_equal(frames_of(open_video(path, plane=1)), np.moveaxis(film[:, 1], 1, -1))
    np.testing.assert_array_equal(frames_of(open_video(path, plane=1, channel=1)), GREY + 11)
    assert open_video(path, plane=1, channel=1).selection.as_record() == {"plane": 1, "channel": 1}

    tifffile.imwrite(path, GREY[:2], metadata={"axes": "CYX"})
    with pytest.raises(VideoError, match="This is one image of 2 channels"):
        open_video(path)
    tifffile.imwrite(path, GREY, metadata={"axes": "ZYX"})  # nothing moves: planes are gone through
    np.testing.assert_array_equal(frames_of(open_video(path)), GREY)
    with pytest.raises(VideoError, match="nothing to choose"):
        open_video(save(tmp_path / "folder", GREY), plane=0)


@pytest.mark.parametrize(
    ("shape", "size"),
    [
        ((5, 1, 1, 16, 24), (5, 16, 24, 1)),
        ((1, 5, 16, 24), (5, 16, 24, 1)),
        ((5, 1, 16, 24), (5, 16, 24, 1)),
        ((1, 1, 1, 16, 24), (1, 16, 24, 1)),
        ((5, 1, 1, 16, 24, 3), (5, 16, 24, 3)),
        ((1, 16, 24), (1, 16, 24, 1)),
    ],
)
def test_axes_of_length_one(shape, size):
    array = RNG.random(shape)
    video = open_video(array)
    assert (*video.shape, video.n_channels) == size
    np.testing.assert_array_equal(video.read(size[0] - 1), array.reshape(size)[-1])


@pytest.mark.parametrize("version", [2, 3])
def test_ome_zarr_is_its_highest_resolution(version, tmp_path):
    group = zarr.open_group(tmp_path / "a.ome.zarr", mode="w", zarr_format=version)
    film = GREY[:, None, None]
    group.create_array("full", data=film)
    group.create_array("half", data=film[..., ::2, ::2])
    scale = [{"type": "scale", "scale": [0.5, 1, 1, 0.2, 0.3]}]
    about = {
        "datasets": [{"path": "full", "coordinateTransformations": scale}, {"path": "half"}],
        "axes": [{"name": "t", "unit": "second"}, {"name": "c"}, {"name": "z"}]
        + [{"name": name, "unit": "micrometer"} for name in "yx"],
    }
    group.attrs.update({"multiscales": [about]} if version == 2 else {"ome": {"multiscales": [about]}})
    video = open_video(tmp_path / "a.ome.zarr")
    np.testing.assert_array_equal(frames_of(video), GREY)
    assert (video.pixel, video.unit, video.fps) == ((0.2, 0.3), "micrometer", 2)


def test_positions_of_ome_zarr(tmp_path):
    group = zarr.open_group(tmp_path / "a.zarr", mode="w", zarr_format=2)
    for i in range(2):
        inside = group.create_group(str(i))
        inside.create_array("0", data=GREY + i)
        inside.attrs["multiscales"] = [{"datasets": [{"path": "0"}], "axes": ["t", "y", "x"]}]
    with pytest.raises(VideoError, match=r"2 positions \(0, 1\)"):
        open_video(tmp_path / "a.zarr")
    np.testing.assert_array_equal(frames_of(open_video(tmp_path / "a.zarr", position=1)), GREY + 1)


def test_files_of_microscopes_get_a_word_that_helps(tmp_path):
    (tmp_path / "a.czi").write_bytes(b"ZISRAWFILE")
    with pytest.raises(VideoError, match=r"a file of ZEISS ZEN.*OME-TIFF.*bioio-czi"):
        open_video(tmp_path / "a.czi")


def test_home_is_where_it_is(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("USERPROFILE", str(tmp_path))
    tifffile.imwrite(tmp_path / "a.tif", GREY, photometric="minisblack")
    assert open_video("~/a.tif").path == tmp_path / "a.tif"


def test_animated_webp_and_png(tmp_path):
    frames = [Image.fromarray((COLOUR[t] // 16).astype(np.uint8)) for t in range(4)]
    for name in ("a.webp", "a.png"):
        frames[0].save(
            tmp_path / name, save_all=True, append_images=frames[1:], duration=[100, 200, 100, 100], lossless=True
        )
        video = open_video(tmp_path / name)
        np.testing.assert_array_equal(frames_of(video), COLOUR // 16)
        assert video.times == pytest.approx([0, 0.1, 0.3, 0.4])
        np.testing.assert_array_equal(video.read(1), COLOUR[1] // 16)


ENTRY = st.one_of(
    st.integers(-4, 3), st.slices(4), st.just(...), st.none(), st.lists(st.integers(-2, 1), min_size=1, max_size=3)
)
SMALL = RNG.integers(0, 99, (4, 3, 5, 3)).astype(np.uint8)


@given(key=st.one_of(ENTRY, st.lists(ENTRY, max_size=5).map(tuple)), colour=st.booleans())
def test_frames_are_indexed_as_numpy_indexes(key, colour):
    array = SMALL if colour else SMALL[..., 0]
    entries = key if isinstance(key, tuple) else (key,)
    try:
        expected = array[key]
    except IndexError:
        with pytest.raises(IndexError):
            take(lambda t: array[t], array.shape, array.dtype, key)
        return
    taken = take(lambda t: array[t], array.shape, array.dtype, key)
    np.testing.assert_array_equal(taken, expected, err_msg=str(entries))


def test_masks_of_numpy_choose_frames_and_pixels():
    for key in (SMALL > 50, np.array([True, False, True, False]), (slice(None), SMALL[0] > 50)):
        np.testing.assert_array_equal(take(lambda t: SMALL[t], SMALL.shape, SMALL.dtype, key), SMALL[key])
