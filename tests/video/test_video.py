import gc
import threading

import dask.array as da
import numpy as np
import pytest
import tifffile
import zarr
from PIL import Image

from napari_pml.errors import VideoError
from napari_pml.video.video import open_video


def numbered_image(t):
    """A grey (32, 64, 3) image of brightness 10 t."""
    return np.full((32, 64, 3), 10 * t, np.uint8)


def number_of(frame):
    """The number of the image that became this frame."""
    return round(frame.mean() / 10)


def test_a_path_that_is_not_there(tmp_path):
    with pytest.raises(VideoError, match="There is no file or folder"):
        open_video(tmp_path / "cat.mp4")


def test_images_are_ordered_by_the_numbers_in_their_names(tmp_path):
    for t in (1, 2, 10):
        Image.fromarray(numbered_image(t)).save(tmp_path / f"frame{t}.png")
    (tmp_path / "notes.txt").write_text("not an image")
    (tmp_path / "._frame3.png").write_bytes(b"left behind by a file manager")
    video = open_video(str(tmp_path))
    assert [number_of(video.read(t)) for t in range(3)] == [1, 2, 10]
    assert video.fps == 10


def test_images_of_several_kinds_become_colour(tmp_path):
    Image.fromarray(numbered_image(0)).save(tmp_path / "0.png")
    Image.fromarray(numbered_image(1)[..., 0]).save(tmp_path / "1.png")
    Image.fromarray(numbered_image(2)).quantize(4).save(tmp_path / "2.png")
    video = open_video(tmp_path)
    assert [number_of(video.read(t)) for t in range(3)] == [0, 1, 2]
    assert {video.read(t).shape for t in range(3)} == {(32, 64, 3)}


def test_images_keep_16_bits(tmp_path):
    frames = np.arange(2 * 6 * 8, dtype=np.uint16).reshape(2, 6, 8) * 500
    Image.fromarray(frames[0]).save(tmp_path / "0.tif")
    Image.fromarray(frames[1]).save(tmp_path / "1.tif")
    video = open_video(tmp_path)
    assert video.dtype == np.uint16
    np.testing.assert_array_equal(video.read(1)[..., 0], frames[1])


def test_folders_that_are_no_video(tmp_path):
    with pytest.raises(VideoError, match="holds no images"):
        open_video(tmp_path)
    Image.fromarray(numbered_image(0)).save(tmp_path / "0.png")
    with pytest.raises(VideoError, match=r"0\.png is a single image. Choose the folder"):
        open_video(tmp_path / "0.png")
    Image.fromarray(numbered_image(1)[:, :48]).save(tmp_path / "1.png")
    with pytest.raises(VideoError, match=r"1\.png is 48 x 32 pixels, but 0\.png is 64 x 32"):
        open_video(tmp_path)
    (tmp_path / "1.png").write_bytes(b"broken")
    with pytest.raises(VideoError, match=r"1\.png cannot be read"):
        open_video(tmp_path)


STACK = np.random.default_rng(2).integers(0, 4000, (5, 20, 30)).astype(np.uint16)


@pytest.mark.parametrize(
    ("frames", "options"),
    [
        (STACK, {}),
        (STACK, {"compression": "zlib"}),
        (STACK, {"imagej": True, "metadata": {"axes": "TYX"}}),
        (np.stack([STACK] * 3, -1).astype(np.uint8), {"photometric": "rgb"}),
        (np.stack([STACK] * 3, -1).astype(np.uint8), {"photometric": "rgb", "planarconfig": "separate"}),
        (np.stack([STACK, STACK], -1), {"imagej": True, "metadata": {"axes": "TCYX"}}),
    ],
    ids=["plain", "compressed", "imagej", "colour", "colour in planes", "imagej channels"],
)
def test_tiff_pages_are_frames(frames, options, tmp_path):
    by_page = frames
    if options.get("planarconfig") or frames.shape[-1] == 2:
        by_page = np.moveaxis(frames, -1, 1)
    tifffile.imwrite(tmp_path / "stack.tif", by_page, **options)
    video = open_video(tmp_path / "stack.tif")
    assert video.shape == (5, 20, 30)
    for t in (4, 0, 2):
        np.testing.assert_array_equal(video.read(t), frames[t].reshape(20, 30, -1))
    del video
    gc.collect()  # an unclosed file would be a warning, and so an error


def test_tiff_written_page_by_page(tmp_path):
    with tifffile.TiffWriter(tmp_path / "stack.tif") as tiff:
        for page in STACK:
            tiff.write(page, contiguous=False)
    video = open_video(tmp_path / "stack.tif")
    np.testing.assert_array_equal(np.stack([video.read(t)[..., 0] for t in range(5)]), STACK)


def test_tiffs_that_are_no_video(tmp_path):
    tifffile.imwrite(tmp_path / "one.tif", STACK[0])
    with pytest.raises(VideoError, match="This is one image"):
        open_video(tmp_path / "one.tif")
    tifffile.imwrite(tmp_path / "z.tif", np.stack([STACK, STACK], 1), imagej=True, metadata={"axes": "TZYX"})
    with pytest.raises(VideoError, match=r"z\.tif holds 2 planes.*plane=0"):
        open_video(tmp_path / "z.tif")
    np.testing.assert_array_equal(open_video(tmp_path / "z.tif", plane=1).read(3)[..., 0], STACK[3])
    (tmp_path / "noise.tif").write_bytes(b"not a tiff" * 100)
    with pytest.raises(VideoError, match=r"noise\.tif cannot be read"):
        open_video(tmp_path / "noise.tif")
    tifffile.imwrite(tmp_path / "cut.tif", STACK)
    content = (tmp_path / "cut.tif").read_bytes()
    (tmp_path / "cut.tif").write_bytes(content[: len(content) // 2])
    with pytest.raises(VideoError, match=r"Frame 4 of cut\.tif cannot be read"):
        open_video(tmp_path / "cut.tif", strict=True).read(4)
    video = open_video(tmp_path / "cut.tif")
    with pytest.warns(UserWarning, match=r"Frame 4 of cut\.tif cannot be read.*repeat"):
        np.testing.assert_array_equal(video.read(4), video.read(1))
    assert video.damaged == [2, 3, 4]


def test_zarr_is_opened_by_path(tmp_path):
    group = zarr.open_group(tmp_path / "a.zarr", mode="w")
    group.create_array("movie", data=STACK)
    video = open_video(tmp_path / "a.zarr" / "movie")
    np.testing.assert_array_equal(video.read(3)[..., 0], STACK[3])
    with pytest.raises(VideoError, match=r"a\.zarr is a group.*movie"):
        open_video(tmp_path / "a.zarr")


class OneFrameAtATime:
    """An array too large to be read as a whole."""

    def __init__(self, array):
        self.array, self.shape, self.dtype = array, array.shape, array.dtype

    def __getitem__(self, key):
        part = self.array[key]
        assert part.nbytes <= self.array[0].nbytes
        return part


@pytest.mark.parametrize("wrap", [np.asarray, OneFrameAtATime, da.from_array, zarr.array])
def test_arrays_are_read_frame_by_frame(wrap):
    video = open_video(wrap(STACK))
    assert (video.shape, video.dtype, len(video)) == ((5, 20, 30), np.uint16, 5)
    np.testing.assert_array_equal(video.read(2)[..., 0], STACK[2])


def test_dask_computes_only_the_frame_that_is_read():
    computed = []

    def compute(block_info=None):
        computed.append(block_info[None]["chunk-location"][0])
        return np.zeros((1, 6, 8))

    lazy = da.map_blocks(compute, chunks=((1,) * 9, (6,), (8,)), dtype=float, meta=np.zeros((0, 0, 0)))
    video = open_video(lazy)
    computed.clear()
    video.read(7)
    video.read(7)
    assert computed == [7]


@pytest.mark.parametrize("axis", [0, 1, 2, 3, -1])
def test_channels_may_lie_on_any_axis(axis):
    frames = np.random.default_rng(0).random((5, 6, 8, 2)).astype(np.float32)
    video = open_video(np.moveaxis(frames, -1, axis), channel_axis=axis)
    assert video.shape == (5, 6, 8)
    np.testing.assert_array_equal(video.read(4), frames[4])


@pytest.mark.parametrize(
    ("array", "channel_axis", "message"),
    [
        (np.zeros((20, 30)), None, "This is one image"),
        (np.zeros((20, 30, 3)), None, "This is one image"),
        (np.zeros((5, 7, 20, 30)), None, r"\(5, 7, 20, 30\).*choose one z-slice, such as array\[:, 0\]"),
        (np.zeros((5, 2, 7, 20, 30)), None, "Choose one position or one z-slice"),
        (np.zeros((5, 20, 30)), 0, "With channel_axis"),
        (np.zeros((0, 20, 30)), None, "not a single pixel"),
        (np.zeros((5, 20, 30), complex), None, "holds complex128"),
        ([1, 2, 3], None, "A list is not a video"),
    ],
)
def test_unclear_arrays_are_refused(array, channel_axis, message):
    with pytest.raises(VideoError, match=message):
        open_video(array, channel_axis=channel_axis)


@pytest.mark.parametrize("t", [-1, 5])
def test_frames_outside_of_the_video(t):
    with pytest.raises(IndexError, match="frames 0 to 4"):
        open_video(STACK).read(t)


def test_frames_cannot_be_written_to():
    frames = STACK.copy()
    with pytest.raises(ValueError, match="read-only"):
        open_video(frames).read(0)[:] = 0
    frames[0] = 7  # the owner still can


def test_rgb_is_stretched_over_the_whole_video():
    ramp = np.linspace(1000, 3000, 50).astype(np.uint16)[:, None, None] + np.zeros((20, 30), np.uint16)
    video = open_video(ramp)
    rgb = [video.rgb(t) for t in (0, 25, 49)]
    assert all(frame.dtype == np.float32 and frame.shape == (20, 30, 3) for frame in rgb)
    np.testing.assert_allclose([frame.mean() for frame in rgb], [0, 0.5, 1], atol=0.02)


def test_scale_is_measured_once_on_few_frames():
    reads = []

    class Counting(OneFrameAtATime):
        def __getitem__(self, key):
            reads.append(key)
            return super().__getitem__(key)

    video = open_video(Counting(np.random.default_rng(0).random((100, 20, 30))))
    threads = [threading.Thread(target=lambda: video.scale) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(reads) == 16
    assert (min(reads), max(reads)) == (0, 99)


def test_8_bit_colour_needs_no_measuring():
    frames = np.random.default_rng(0).integers(50, 200, (20, 6, 8, 3)).astype(np.uint8)
    np.testing.assert_allclose(open_video(frames).rgb(3), frames[3] / 255, atol=1e-6)


@pytest.mark.parametrize("channels", [None, 3, 4])
def test_layer_data_is_indexed_like_the_array(channels):
    array = np.random.default_rng(0).integers(0, 255, (5, 6, 8, channels or 1)).astype(np.uint8)
    array = array if channels else array[..., 0]
    video = open_video(array)
    data = video.as_layer_data()
    assert (data.shape, data.ndim, data.dtype) == (array.shape, array.ndim, array.dtype)
    for key in (
        2,
        np.int64(2),
        -1,
        slice(1, 3),
        slice(3, 3),
        ...,
        [0, 4],
        (2, slice(1, 4)),
        (slice(None), 3, 4),
    ):
        np.testing.assert_array_equal(data[key], array[key])
    assert open_video(data) is video


def test_layer_data_of_other_channels_is_shown_in_colour():
    video = open_video(np.random.default_rng(0).random((5, 2, 6, 8)), channel_axis=1)
    data = video.as_layer_data()
    assert (data.shape, data.dtype) == ((5, 6, 8, 3), np.float32)
    np.testing.assert_array_equal(data[3], video.rgb(3))


def test_real_clips(data_folder):
    assert open_video(data_folder / "clips" / "dog-sam2.mp4").shape == (289, 720, 1280)
    embryo = open_video(data_folder / "clips" / "drosophila-embryo-nuclei.tif")
    assert (embryo.shape, embryo.read(20).shape) == ((21, 264, 542), (264, 542, 3))
