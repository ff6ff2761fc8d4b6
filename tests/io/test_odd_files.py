"""Damaged files of every kind: what can be read is right, and the rest is an error that says what to do."""

import os
import pickle
import warnings
import zipfile

import av
import numpy as np
import pytest
import tifffile
import torch
import zarr
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from safetensors.torch import save_file

from napari_pml import open_video
from napari_pml.embedding.networks.compact import CompactNet, trained_trunk
from napari_pml.embedding.weights import bundled, load_weights
from napari_pml.errors import AnnotationError, VideoError, WeightsError
from napari_pml.io.label_images import read_labels
from odd import damaged, says_what_to_do

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning", "ignore::ResourceWarning")  # of files that end early

FRAMES = np.random.default_rng(0).integers(0, 255, (5, 32, 48, 3), dtype=np.uint8)
LABELS = np.random.default_rng(0).integers(0, 5, (32, 48), dtype=np.uint8)


def compressed(path, codec, pixels):
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=10)
        stream.height, stream.width, stream.pix_fmt = *FRAMES.shape[1:3], pixels
        for t, frame in enumerate(FRAMES):
            picture = av.VideoFrame.from_ndarray(frame, format="rgb24").reformat(format=pixels)
            picture.pts = t + (t > 2)  # one stays twice as long
            container.mux(stream.encode(picture))
        container.mux(stream.encode())


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A whole file of every kind, as bytes by its name."""
    folder = tmp_path_factory.mktemp("whole")
    compressed(folder / "a.mp4", "libx264", "yuv420p")
    compressed(folder / "a.mkv", "ffv1", "bgr0")
    compressed(folder / "a.avi", "mjpeg", "yuvj420p")
    tifffile.imwrite(folder / "a.tif", FRAMES[..., 0], compression="zlib")
    tifffile.imwrite(folder / "b.tif", FRAMES, photometric="rgb")
    tifffile.imwrite(folder / "c.tiff", FRAMES[..., 0], metadata=None)
    Image.fromarray(FRAMES[1]).save(folder / "a.png")
    Image.fromarray(FRAMES[1]).save(folder / "a.jpg")
    picture = Image.fromarray(LABELS)
    picture.putpalette([1, 2, 3] * 256)
    picture.save(folder / "labels.png")
    np.save(folder / "labels.npy", LABELS)
    tifffile.imwrite(folder / "labels.tif", LABELS, compression="zlib")
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def read_all(path):
    video = open_video(path)
    for t in range(len(video)):
        rgb = video.rgb(t)
        assert rgb.shape == (*video.shape[1:], 3)
        assert 0 <= rgb.min() <= rgb.max() <= 1


@pytest.mark.parametrize("name", ["a.mp4", "a.mkv", "a.avi", "a.tif", "b.tif", "c.tiff", "a.png", "a.jpg"])
def test_damaged_videos(name, whole, tmp_path):
    place = tmp_path / name
    if name in ("a.png", "a.jpg"):  # among whole ones
        place = tmp_path / "folder" / name
        place.parent.mkdir()
        (place.parent / ("b" + place.suffix)).write_bytes(whole[name])
    source = place if place.parent == tmp_path else place.parent
    place.write_bytes(whole[name])
    read_all(source)

    @settings(max_examples=40)
    @given(damaged(whole[name]))
    def check(content):
        place.write_bytes(content)
        try:
            read_all(source)
        except VideoError as error:
            says_what_to_do(error)

    check()


def test_damaged_zarr(tmp_path):
    path = tmp_path / "a.zarr"
    zarr.save_array(path, FRAMES[..., 0])
    files = {file: file.read_bytes() for file in path.rglob("*") if file.is_file()}

    @settings(max_examples=60)
    @given(st.data())
    def check(data):
        file = data.draw(st.sampled_from(sorted(files)))
        file.write_bytes(data.draw(damaged(files[file])))
        try:
            read_all(path)
        except VideoError as error:
            says_what_to_do(error)
        finally:
            file.write_bytes(files[file])

    check()


@pytest.mark.parametrize("name", ["labels.png", "labels.npy", "labels.tif"])
def test_damaged_label_images(name, whole, tmp_path):
    place = tmp_path / name
    place.write_bytes(whole[name])
    np.testing.assert_array_equal(read_labels(place), LABELS)

    @settings(max_examples=80)
    @given(damaged(whole[name]))
    def check(content):
        place.write_bytes(content)
        try:
            labels = read_labels(place)
        except AnnotationError as error:
            says_what_to_do(error)
        else:
            assert labels.dtype == np.uint16
            assert labels.ndim == 2

    check()


@pytest.mark.parametrize("mode", ["1", "L", "P", "LA", "PA", "RGB", "RGBA", "CMYK", "YCbCr", "I", "F", "I;16", "La"])
@pytest.mark.parametrize("suffix", [".png", ".tif"])
def test_label_images_of_every_mode_are_read_or_refused(mode, suffix, tmp_path):
    path = tmp_path / f"labels{suffix}"
    try:
        Image.new(mode, (4, 3)).save(path)
    except (OSError, KeyError, ValueError):
        return  # there is no such file
    try:
        labels = read_labels(path)
    except AnnotationError as error:
        says_what_to_do(error)
    else:
        np.testing.assert_array_equal(labels, np.zeros((3, 4)))


def test_arrays_that_hold_something_else_than_labels(tmp_path):
    class Trap:
        def __reduce__(self):
            return os.mkdir, (str(tmp_path / "executed"),)

    path = tmp_path / "labels.npy"
    for array in (np.array([Trap()], object), np.zeros((0, 3), int), np.full((2, 2), np.nan), np.full((2, 2), -1)):
        np.save(path, array)
        with pytest.raises(AnnotationError):
            read_labels(path)
    np.savez(tmp_path / "labels.npz", np.zeros((2, 2), int))
    (tmp_path / "labels.npz").rename(path)
    with pytest.raises(AnnotationError, match="cannot be read"):
        read_labels(path)
    assert not (tmp_path / "executed").exists()


def test_label_images_that_claim_to_be_huge(tmp_path):
    path = tmp_path / "labels.tif"
    tifffile.imwrite(path, LABELS)
    with tifffile.TiffFile(path, mode="r+b") as tiff:
        tiff.pages[0].tags["ImageLength"].overwrite(2**31)
        tiff.pages[0].tags["ImageWidth"].overwrite(2**31)
    with pytest.raises(AnnotationError, match="claims"):
        read_labels(path)


@pytest.mark.parametrize("name", ["x" * 400, "a\0b"])
def test_names_that_no_file_can_have(name):
    with pytest.raises(VideoError):
        open_video(name)


@pytest.mark.parametrize(
    "change",
    [
        {"head.shortcut.weight": None},
        {"further": torch.zeros(1)},
        {"head.shortcut.bias": torch.zeros(3)},
        {"head.shortcut.weight": torch.tensor(1.0)},
        {"head.shortcut.weight": torch.zeros(0, 5, 1, 1)},
        {"head.shortcut.bias": torch.full((64,), torch.nan)},
    ],
    ids=["missing", "further", "shape", "scalar", "empty", "nan"],
)
def test_networks_that_do_not_fit(change, tmp_path):
    state, _ = load_weights(bundled("compact"))
    state = {name: value for name, value in (state | change).items() if value is not None}
    save_file(state, tmp_path / "w.safetensors", metadata={"architecture": "compact"})
    with pytest.raises(WeightsError):
        CompactNet.from_file(tmp_path / "w.safetensors")


def test_damaged_headers_of_weights(tmp_path):
    content = bundled("compact").read_bytes()
    n = 8 + int.from_bytes(content[:8], "little")
    path = tmp_path / "w.safetensors"

    @settings(max_examples=60)
    @given(damaged(content[:n]))
    def check(header):
        path.write_bytes(header + content[n:])
        try:
            CompactNet.from_file(path)
        except WeightsError as error:
            says_what_to_do(error)

    check()


def test_damaged_checkpoints(tmp_path):
    path = tmp_path / "w.pth"
    torch.save({"a": torch.arange(9.0), "b": torch.zeros(2, 2)}, path)
    for content in (path.read_bytes(), pickle.dumps({"a": 1.0, "b": [1, {"c": (1, 2)}]})):

        @settings(max_examples=60)
        @given(damaged(content))
        def check(spoilt):
            path.write_bytes(spoilt)
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                try:
                    trained_trunk(path)
                except WeightsError as error:
                    says_what_to_do(error)

        check()


@pytest.mark.parametrize("write", [torch.save, lambda state, path: path.write_bytes(pickle.dumps(state))])
def test_nothing_in_a_checkpoint_is_executed(write, tmp_path):
    class Trap:
        def __reduce__(self):
            return os.mkdir, (str(tmp_path / "executed"),)

    for state in (Trap(), {"a": Trap()}, {"a": torch.zeros(1), "b": [Trap()]}):
        write(state, tmp_path / "w.pth")
        with pytest.raises(WeightsError):
            load_weights(tmp_path / "w.pth")
    assert not (tmp_path / "executed").exists()


def test_a_zip_in_place_of_a_video(tmp_path):
    for name in ("a.zarr", "a.mp4", "a.tif"):
        with zipfile.ZipFile(tmp_path / name, "w") as archive:
            archive.writestr("../zarr.json", "{}")
        with pytest.raises(VideoError):
            open_video(tmp_path / name)
